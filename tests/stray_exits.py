"""A worker's thread ends its process when it can't go on; one that a test forgot doesn't end the tests with it."""

import os
import sys
import threading
import traceback
from collections.abc import Generator

import pytest

OURS = ("api", "murmur", "transcription", "worker")
"""Packages whose threads may end their process. Others keep the right: a fork, or xdist when its parent is gone."""

_exit, _process = os._exit, os.getpid()
_strays: list[str] = []


def pytest_configure() -> None:
    """Take the place of the call that ends this process without a word."""
    os._exit = _guarded


def _guarded(status: int) -> None:
    caller = sys._getframe(1)
    if os.getpid() != _process or str(caller.f_globals.get("__name__")).partition(".")[0] not in OURS:
        _exit(status)
    stack = "".join(traceback.format_stack(caller))
    _strays.append(f"os._exit({status}) in the thread {threading.current_thread().name!r}:\n{stack}")
    raise SystemExit(status)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_teardown() -> Generator[None, object, object]:
    """Fail the test that was running, and say which thread would have ended it."""
    result = yield
    found, _strays[:] = _strays[:], []
    assert not found, "\n".join(["the tests' own process would have ended", *found])
    return result
