"""
Compile everything that the tests run, once: `python -m tests.compiled`, before the tests' processes start.

In a clean checkout each of them would compile all of it by itself, and pytest rewrite the assertions of every test: a
third of a minute of computing for each.
"""

import compileall
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from _pytest.assertion import AssertionState, rewrite
from _pytest.config import get_config

ROOT = Path(__file__).parents[1]
PACKAGES = ("transcription", "api", "worker", "murmur", "demo", "tests")
PLAIN, REWRITTEN = "plain", "rewritten"


def compile_all() -> None:
    """Write the bytecode that isn't there yet, or is older than its source."""
    files = [str(file) for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    cores = os.cpu_count() or 1
    with ProcessPoolExecutor(cores) as pool:
        list(pool.map(_plain, (files[part::cores] for part in range(cores))))
        tests = [file for file in files if Path(file).name.startswith(("test_", "conftest"))]
        list(pool.map(_rewritten, (tests[part::cores] for part in range(cores))))


def _plain(files: list[str]) -> None:
    for file in files:
        compileall.compile_file(file, quiet=2)


def _rewritten(files: list[str]) -> None:
    """What pytest keeps of a test beside its plain bytecode. Its own hook does this at import, and is private."""
    config = get_config()
    state = AssertionState(config, "rewrite")
    for file in map(Path, files):
        kept = rewrite.get_cache_dir(file) / (file.stem + rewrite.PYC_TAIL)
        if rewrite._read_pyc(file, kept) is None and rewrite.try_makedirs(kept.parent):
            stat, code = rewrite._rewrite_test(file, config)
            rewrite._write_pyc(state, code, stat, kept)


if __name__ == "__main__" and not sys.dont_write_bytecode:
    compile_all()
