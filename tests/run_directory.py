"""The directory that all processes of one run of the tests share, for what is made once and used by each of them."""

import atexit
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

VARIABLE, OWNER = "TESTS_RUN", "owner"
MEMORY, ENOUGH_BYTES = Path("/dev/shm"), 8 << 30


def share() -> None:
    """
    Make the directory of a run; called in the process that starts the others, before it does.

    What they leave among temporary files lies in it, and goes with it. Pytest's own lie beside it: it keeps those of
    tests that failed.
    """
    if VARIABLE not in os.environ:
        root = _root()
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", root)
        made = tempfile.mkdtemp(prefix="murmur-tests-", dir=root)
        os.environ[VARIABLE] = os.environ["TMPDIR"] = tempfile.tempdir = made
        (Path(made) / OWNER).write_text(str(os.getpid()))
        atexit.register(_remove, made, os.getpid())


def run_directory() -> Path:
    """The directory of this run, which goes when the process does that made it."""
    share()
    return Path(os.environ[VARIABLE])


def owner() -> int:
    """The process that made the directory: when it has ended, the run has."""
    return int((run_directory() / OWNER).read_text())


def made_once(name: str, make: Callable[[], str]) -> str:
    """What *make* gives, called by the first process of the run that asks for *name*; others wait for it."""
    file = run_directory() / name
    with file.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            file.write_text(make(), "utf-8")
    return file.read_text("utf-8")


def _root() -> str:
    """Where temporary files are made, which are tens of thousands: TMPDIR, or in memory where there is plenty."""
    if "TMPDIR" not in os.environ and MEMORY.is_dir():
        there = os.statvfs(MEMORY)
        if there.f_bavail * there.f_frsize >= ENOUGH_BYTES and not there.f_flag & os.ST_NOEXEC:
            return str(MEMORY)
    return tempfile.gettempdir()


def _remove(made: str, owner_: int) -> None:
    if os.getpid() == owner_:  # not in a fork
        shutil.rmtree(made, ignore_errors=True)
