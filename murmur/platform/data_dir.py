"""The data directory: uploads, models and the embedded ledger, for one running platform at a time."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from murmur.errors import CliError

LAST_MOMENTS_S = 10.0


@contextlib.contextmanager
def claimed(path: Path, *, worker: str | None = None) -> Iterator[int]:
    """
    Hold *path*, made if need be, against every other platform; or the name *worker* in it against every other worker.

    Yields:
        The lock's descriptor. A process that inherits it holds the directory too: the ledger's server does, so that
        no other one opens its file while it is still writing.

    Raises:
        CliError: it can't be written to, or another platform or worker of that name runs in it.
    """
    lock = path / ("murmur.lock" if worker is None else f"worker-{worker}.lock")
    taken = (
        f"the data directory {path} is in use by a platform that runs" if worker is None else f"{worker!r} runs already"
    )
    remedy = "choose another with --data-dir" if worker is None else "give this one another --name"
    try:
        path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CliError(
            f"can't write to the data directory {path}: {error.strerror}; choose another with --data-dir"
        ) from error
    try:
        _take(descriptor, taken, remedy)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _take(descriptor: int, taken: str, remedy: str) -> None:
    deadline = time.monotonic() + LAST_MOMENTS_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace")
            # When the platform itself was killed, its ledger's server is about to end: that is worth a moment.
            dying = holder.isdigit() and not psutil.pid_exists(int(holder))
            if not dying or time.monotonic() > deadline:
                raise CliError(f"{taken} (process {holder or 'unknown'}); stop that one, or {remedy}") from None
            time.sleep(0.1)
        else:
            return
