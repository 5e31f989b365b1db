"""Data directories in which the demo model lies ready and its encoder is chosen: made once a run, then copied."""

import fcntl
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.run_directory import run_directory

ROOT = Path(__file__).parents[1]
FOLDERS = ("models", "encoders")
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


@cache
def _made() -> Path:
    directory = run_directory() / "ready"
    directory.mkdir(exist_ok=True)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # who comes second waits for the first
        if not (directory / "made").exists():
            command = [sys.executable, "-c", LOAD, str(directory)]
            subprocess.run(command, check=True, timeout=100, cwd=ROOT, capture_output=True)
            (directory / "made").touch()
    return directory
