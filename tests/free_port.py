"""Numbers of ports for what tests start: below those that the kernel gives to whoever asks for any."""

import fcntl
import os
import random
import socket

from tests.run_directory import run_directory

FIRST, LAST = 10_000, 32_000
"""Linux gives those from 32768 on away, others from 49152."""

STEP = 16
"""Workers of one machine serve their figures at the number that they are told, or at one of the next fifteen."""

LAST_GIVEN = f"murmur-tests-port-{os.getuid()}"
"""The file with the last number, beside the directories of the runs."""


def free_port() -> int:
    """
    A number at which nobody listens on any address, and which no run of this user's gives to anybody else soon.

    One that the kernel has given may be another test's by the time that somebody listens there, and so may one that a
    run beside this has given.
    """
    with (run_directory().parent / LAST_GIVEN).open("a+") as last:
        fcntl.flock(last, fcntl.LOCK_EX)
        last.seek(0)
        # Not where `random` is: that one begins anew at every test.
        port = int(last.read() or random.SystemRandom().randrange(FIRST, LAST, STEP))
        while not _free(port := port + STEP if port < LAST else FIRST):
            pass
        last.truncate(0)
        last.write(str(port))
    return port


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True
