"""A test that doesn't end even when its time is over ends its process, and says where each of its threads stands."""

import faulthandler
from collections.abc import Generator

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key

GRACE_S = 60.0
"""
How long what a test has begun may take to end after its time limit.

pytest-timeout raises an error in the test, once; a test that then waits for a thread of its own, or a fixture that
waits for a process, waits for ever, and with it the whole run.
"""


def _limit_s(item: pytest.Item) -> float:
    mark = item.get_closest_marker("timeout")
    given = mark.args[0] if mark and mark.args else item.config.getoption("timeout") or item.config.getini("timeout")
    return float(given or 0)


def _armed(item: pytest.Item) -> Generator[None, object, object]:
    limit_s = _limit_s(item)
    file = item.config.stash.get(fault_handler_stderr_fd_key, None)
    if not limit_s or file is None:
        return (yield)
    faulthandler.dump_traceback_later(limit_s + GRACE_S, exit=True, file=file)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


# Each phase by itself: pytest calls every such timer off when a test fails, before its fixtures are taken down.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """Watch the fixtures come up."""
    return (yield from _armed(item))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Watch the test."""
    return (yield from _armed(item))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Watch the fixtures go."""
    return (yield from _armed(item))
