"""Real servers for the tests: the ledger's, or the whole platform; waits with a deadline."""

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from shutil import which
from typing import Any, TypeVar
from unittest import mock

from redis import Redis

from murmur.client.client import Client
from murmur.platform import ledger_server
from murmur.platform.ledger_binary import find_binary
from murmur.platform.local import LocalPlatform, PlatformConfig
from murmur.platform.processes import Process
from tests.free_port import free_port
from tests.ready_model import with_ready_model
from tests.warm import start as warm
from transcription.settings import Limits, Settings

T = TypeVar("T")

BLOBS_SECRET = "known to the API and the worker"
"""Signs the links of a platform whose worker shares no disk with it."""

LEAST_PATIENCE_S = 60.0
"""No wait gives up sooner: on a machine that others keep busy nothing can be told from less."""


def eventually(condition: Callable[[], T], within_s: float = 10.0, *, every_s: float = 0.02) -> T:
    """Poll *condition* until it is true, and return what it gave; fail after *within_s*, a minute at least."""
    deadline = time.monotonic() + max(within_s, LEAST_PATIENCE_S)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not true within {within_s} s: {condition}; it last gave {value!r}")
        time.sleep(every_s)


def fresh_stats(client: Client) -> dict[str, Any]:
    """The platform's statistics of now: those that an API process answers with may be a second old."""
    asked = time.monotonic()
    return eventually(lambda: client.stats() if time.monotonic() - asked > 1.5 else None, every_s=0.2)


async def eventually_async(condition: Callable[[], T], within_s: float = 10.0, *, every_s: float = 0.005) -> T:
    """`eventually` for a test on an event loop, which goes on meanwhile."""
    deadline = time.monotonic() + max(within_s, LEAST_PATIENCE_S)
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not true within {within_s} s: {condition}; it last gave {value!r}"
        await asyncio.sleep(every_s)


@cache
def ledger_binaries() -> dict[str, Path]:
    """
    Every server for the ledger that this machine has, by name: Valkey always (the locks bring one), Redis where it
    is installed (`apt install redis-server`, `brew install redis`), which CI sees to. TEST_LEDGERS=valkey: that alone.
    """
    found = {"valkey": _valkey()}
    redis = None if os.environ.get("TEST_LEDGERS") == "valkey" else shutil.which("redis-server")
    if redis and Path(redis).resolve() != found["valkey"].resolve():
        found["redis"] = Path(redis)
    return found


def _valkey() -> Path:
    with mock.patch("shutil.which", lambda name: None if name == "redis-server" else which(name)):
        return find_binary()


@contextmanager
def running_ledger(directory: Path, binary: Path | None = None) -> Iterator[ledger_server.LedgerServer]:
    """Run a real Valkey or Redis with its file in *directory*: *binary*, or the one that the platform would choose."""
    lines: list[str] = []
    with mock.patch.object(ledger_server, "find_binary", (lambda *_: binary) if binary else find_binary):
        server = ledger_server.start(directory, lambda _, line: lines.append(line))
    try:
        yield server
    finally:
        server.process.stop()


@contextmanager
def stopped(redis: Redis) -> Iterator[None]:
    """Freeze the ledger's server, as a hung disk or a paused virtual machine does."""
    pid = int(redis.info("server")["process_id"])
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


class TestPlatform(LocalPlatform):
    """
    A platform of real processes: a ledger's server, an API, workers with the demo model.

    What dies stays dead until the test calls `restart_exited()`. ``lines`` is what the processes wrote. API and workers
    are forked from a warm process, if they aren't to be started *as_users* start them.
    """

    __test__ = False

    def __init__(self, settings: Settings, layout: PlatformConfig, *, as_users: bool = False) -> None:
        self.lines: list[str] = []
        run = Process if as_users else warm.running
        super().__init__(settings, layout, sink=self._keep, say=lambda text: self._keep("murmur", text), run=run)

    @property
    def redis_url(self) -> str:
        """The ledger's URL."""
        return self.settings.ledger.url.get_secret_value()

    def client(self, **how: Any) -> Client:
        """A new client; close it, or use it in a `with`."""
        return Client(self.url, **how)

    def pids(self) -> dict[str, int]:
        """The process ids by name: `ledger`, `api`, `w1`, …"""
        names = self.supervisor.names()
        return {name: process.pid for name in names if (process := self.supervisor.process(name))}

    def _keep(self, name: str, line: str) -> None:
        self.lines.append(f"{name:<7}| {line}")


@contextmanager
def running_platform(
    directory: Path, *, workers: int = 1, ready: bool = True, as_users: bool = False, **settings: Any
) -> Iterator[TestPlatform]:
    """
    Run a platform of one's own; the session's is the fixture `platform`.

    Args:
        directory: Its data directory.
        workers: How many.
        ready: Whether the demo model lies there already, which else the first start writes and measures.
        as_users: Whether the programs are started by their command lines, and not forked from a warm process.
        settings: Parts or values of Settings that differ, as ``lease=Lease(ttl_s=2)``.
    """
    # A busy machine must not turn uploads away in the middle of a test.
    generous = Limits(max_memory_percent=100, min_free_disk_bytes=0)
    given: dict[str, Any] = {"model": "demo", "limits": generous} | settings
    whole = Settings(data_dir=directory, **given)
    if ready and not whole.worker.engine.startswith("tests."):
        with_ready_model(directory)
    platform = TestPlatform(whole, PlatformConfig(workers=workers, port=free_port()), as_users=as_users)
    try:
        platform.start()
        platform.until_ready(90)
        yield platform
    except BaseException:
        print("\n".join(platform.lines[-100:]))
        raise
    finally:
        platform.stop()
