"""
Run a program that must not outlive the process that started it.

    python parent_death.py PARENT_PID SIGNAL PROGRAM ARGUMENT...

Where Linux offers it, the kernel sends SIGNAL to the program when its parent dies, however it dies. Elsewhere this
script stays between the two, hands signals on, and looks twice a second whether the parent is still there.
Only the standard library is imported: the script runs without site-packages, and starts in milliseconds.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from types import FrameType

PR_SET_PDEATHSIG = 1
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
LAST_WORD_S = 10.0


def main(parent: int, last_signal: int, argv: list[str]) -> int:
    """Become *argv*, or watch over it; its exit status."""
    if sys.platform == "linux" and "MURMUR_PARENT_DEATH" not in os.environ:
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, last_signal)
        # The parent may have died before the kernel was asked to watch it.
        if os.getppid() != parent:
            return 1
        os.execvp(argv[0], argv)  # noqa: S606  no shell is wanted
    return watch(parent, last_signal, argv)


def watch(parent: int, last_signal: int, argv: list[str]) -> int:
    """Run *argv* as a child, and end it when *parent* is gone."""
    started: list[subprocess.Popen[bytes]] = []
    early: list[int] = []

    def hand_on(number: int, _: FrameType | None) -> None:
        if not started:
            early.append(number)
        for program in started:
            program.send_signal(number)

    # Before the program runs: who has heard a word of it may send it a signal, which would end this script.
    for number in FORWARDED:
        signal.signal(number, hand_on)
    # The program inherits what this script was given, as it does where the kernel watches.
    with subprocess.Popen(argv, close_fds=False) as program:  # noqa: S603
        started.append(program)
        for missed in early:
            program.send_signal(missed)
        while program.poll() is None:
            if os.getppid() != parent:
                end(program, last_signal)
                break
            time.sleep(0.5 if sys.platform != "linux" else 0.1)
        status = program.wait()
    return status if status >= 0 else 128 - status


def end(program: "subprocess.Popen[bytes]", last_signal: int) -> None:
    """Send the last signal, and SIGKILL to a program that doesn't heed it."""
    program.send_signal(last_signal)
    try:
        program.wait(LAST_WORD_S)
    except subprocess.TimeoutExpired:
        program.kill()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
