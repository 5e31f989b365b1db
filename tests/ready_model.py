"""Data directories in which the demo model lies ready and its encoder is chosen: made once a run, then copied."""

import atexit
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("models", "encoders")
SHARED = "TESTS_READY_MODEL"
"""The variable that tells the processes of a run where the one is that all of them copy."""
# In a process of its own: what a test's process has loaded stays loaded.
LOAD = (
    "import sys; from transcription.settings import Settings; from worker.model_cache import load; "
    "load('demo', Settings(data_dir=sys.argv[1], model='demo', device='cpu')).close()"
)


def with_ready_model(directory: Path) -> Path:
    """Put the demo model into the data directory *directory*, as the first start of a worker would; return that."""
    for name in FOLDERS:
        if (_made() / name).is_dir():  # where no encoder is measured there is no such folder
            shutil.copytree(_made() / name, directory / name, dirs_exist_ok=True)
    return directory


def share() -> None:
    """Name the directory of a run; called in the process that starts the others, before it does."""
    if SHARED not in os.environ:
        os.environ[SHARED] = directory = tempfile.mkdtemp(prefix="murmur-ready-")
        atexit.register(shutil.rmtree, directory, ignore_errors=True)


@cache
def _made() -> Path:
    share()
    directory = Path(os.environ[SHARED])
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # who comes second waits for the first
        if not (directory / "made").exists():
            command = [sys.executable, "-c", LOAD, str(directory)]
            subprocess.run(command, check=True, timeout=100, cwd=ROOT, capture_output=True)
            (directory / "made").touch()
    return directory
