"""Real servers for the tests: a ledger's server for a session, waits with a deadline."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import psutil

from murmur import embedded

T = TypeVar("T")


def eventually(condition: Callable[[], T], within_s: float = 10.0, *, every_s: float = 0.02) -> T:
    """Poll *condition* until it is true, and return what it gave; fail when *within_s* has passed."""
    deadline = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not true within {within_s} s: {condition}; it last gave {value!r}")
        time.sleep(every_s)


@contextmanager
def ledger_server(directory: Path) -> Iterator[embedded.LedgerServer]:
    """Run a real Valkey or Redis with its file in *directory*."""
    lines: list[str] = []
    server = embedded.start(directory, lambda _, line: lines.append(line))
    try:
        yield server
    finally:
        server.process.stop()


def group_alive(group: int) -> bool:
    """Whether any process of the group runs; one that only waits to be reaped doesn't count."""
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                return True
        except (ProcessLookupError, PermissionError, psutil.Error):
            continue
    return False
