"""Starts the platform's programs for tests: on Linux as forks of a process that has imported everything."""

import os
import subprocess
import sys
from functools import partial
from itertools import pairwise

from murmur.platform import processes
from murmur.platform.processes import PRIVATE, Process, Program, Started
from tests.warm import zygotes
from tests.warm.forked import Forked, Streams, parent
from tests.warm.parent import IMPORTED

OURS = ("MURMUR_", "REPLICA", "STUB_", "TMPDIR")
"""Variables that no library reads while it is imported. Others, as OMP_NUM_THREADS, must be set for who forks, too."""


def start(program: Program) -> Started:
    """Start *program*: the API and Celery's worker from a warm process, everything else as a user does."""
    options = list(program.argv)
    if sys.platform != "linux" or options[0] != sys.executable or "-m" not in options:
        return processes.start(program)
    at = options.index("-m")
    module, arguments = options[at + 1], options[at + 2 :]
    if module not in IMPORTED:
        return processes.start(program)
    asked = {
        "arguments": arguments,
        "warnings": [value for option, value in pairwise(options[:at]) if option == "-W"],
        "environment": {**os.environ, **program.env},
        "directory": str(program.directory) if program.directory else None,
        "umask": PRIVATE,
    }
    theirs = {name: value for name, value in program.env.items() if not name.startswith(OURS)}
    zygotes.ready()
    return Forked(parent(module, theirs), program.argv, asked, Streams(subprocess.DEVNULL, subprocess.PIPE))


running = partial(Process, start=start)
"""Makes a running process of a program, for `LocalPlatform` and for tests that need one by itself."""
