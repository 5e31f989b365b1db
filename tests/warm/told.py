"""A program that says what it was started with, and ends with the status that it is told to: to compare starts."""

import gc
import json
import os
import signal
import sys
import tempfile
import threading
import warnings
from pathlib import Path


def told() -> dict[str, object]:
    """Whatever may differ between two ways to start a program."""
    os.umask(mask := os.umask(0))
    own = {name: value for name, value in os.environ.items() if name.startswith(("MURMUR_", "PYTHON", "TMP", "HOME"))}
    return {
        "argv": sys.argv[1:],
        "environment": own,
        "directory": os.getcwd(),  # noqa: PTH109  what the system says
        "umask": mask,
        "session": os.getsid(0) == os.getpgid(0) == os.getpid(),
        "standard input": os.readlink("/proc/self/fd/0"),  # noqa: PTH115
        "descriptors": sorted(name for name in os.listdir("/proc/self/fd") if int(name) < 20),  # noqa: PTH208
        "signals": {one.name: str(signal.getsignal(one)) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)},
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "garbage": gc.isenabled(),
        "threads": threading.active_count(),
        "temporary": tempfile.gettempdir(),
        "name": [__name__, Path(sys.argv[0]).stem, threading.current_thread() is threading.main_thread()],
        "ignored": [one[0] for one in warnings.filters if one[1] and "superuser" in str(one[1])],
    }


if __name__ == "__main__":
    print(json.dumps(told()))
    print("and an error", file=sys.stderr)
    if sys.argv[1] == "wait":
        threading.Event().wait()
    sys.exit(int(sys.argv[1]))
