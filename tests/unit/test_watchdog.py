"""What a run of tests does about a test that never ends."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONFTEST = """
from tests import watchdog
watchdog.GRACE_S = 0.5
pytest_plugins = ("tests.watchdog",)
"""
TESTS = """
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


def test_a_test_that_outlives_its_time_limit_even_in_its_fixtures_ends_the_run_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_some.py").write_text(TESTS)
    argv = [sys.executable, "-m", "pytest", "-p", "pytest_timeout", "--timeout", "0.5", "-p", "no:cacheprovider"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    ended = subprocess.run(
        argv, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert "Timeout (0:00:0" in ended.stderr
    assert "in one_that_never_goes" in ended.stderr
    assert "test_some.py .F" in ended.stdout
