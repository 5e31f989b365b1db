"""What a run of tests does about a test that never ends, and about a thread that would end it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SLOW = """
from tests import watchdog
watchdog.GRACE_S = 0.5
pytest_plugins = ("tests.watchdog",)
"""
DEAF = """
import time
import pytest

@pytest.fixture
def one_that_never_goes():
    yield
    while True:
        time.sleep(60)

def test_good():
    pass

def test_deaf(one_that_never_goes):
    while True:
        time.sleep(60)
"""
FORGOTTEN = """
import threading
from worker.health import vital_threads

def test_forgetful():
    found = threading.ExceptHookArgs([OSError, None, None, None])
    thread = threading.Thread(target=vital_threads._end_process, args=(found,))
    thread.start()
    thread.join()

def test_good():
    pass
"""


def run(directory: Path, conftest: str, tests: str) -> subprocess.CompletedProcess[str]:
    (directory / "conftest.py").write_text(conftest)
    (directory / "test_some.py").write_text(tests)
    argv = [sys.executable, "-m", "pytest", "-p", "pytest_timeout", "--timeout", "0.5", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        argv, cwd=directory, env=environment, capture_output=True, text=True, timeout=100, check=False
    )


def test_a_test_that_outlives_its_time_limit_even_in_its_fixtures_ends_the_run_and_is_named(tmp_path: Path) -> None:
    ended = run(tmp_path, SLOW, DEAF)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "Timeout (0:00:0" in ended.stderr
    assert "in one_that_never_goes" in ended.stderr
    assert "test_some.py .F" in ended.stdout


def test_a_worker_s_thread_that_would_end_its_process_ends_a_test_and_says_where(tmp_path: Path) -> None:
    ended = run(tmp_path, 'pytest_plugins = ("tests.stray_exits",)', FORGOTTEN)
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "os._exit(73) in the thread" in ended.stdout
    assert "in _end_process" in ended.stdout
    assert "2 passed, " in ended.stdout
    assert "1 error" in ended.stdout
