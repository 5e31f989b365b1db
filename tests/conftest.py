"""
Fixtures for every test: real servers, started once and emptied between tests.

A server that can't be had fails the test that needs it: the locks bring one along.
"""

import gc
import os
import signal
import threading
from collections.abc import Generator, Iterator

import pytest
import structlog
from httpx._config import DEFAULT_TIMEOUT_CONFIG
from redis import Redis

from tests import cpu_time, run_directory
from tests.buckets import bucket_server, credentials, new_bucket
from tests.ledger_clock import LedgerClock, moved
from tests.platform import TestPlatform, ledger_binaries, running_ledger, running_platform
from tests.warm import zygotes
from transcription.ledger import scripts

pytest_plugins = ("tests.certificates", "tests.file_order", "tests.watchdog", "tests.stray_exits")

LAST_LINES = 100
LATEST_ANSWER_S = 60.0
HEEDED = {
    signal.SIGHUP: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler, signal.SIGQUIT: signal.SIG_DFL
}  # fmt: skip
"""By signal: what a process does that nobody has told to ignore it."""
LEDGER_SUITES = ("tests.integration.ledger.", "tests.integration.test_queue_place", "tests.integration.test_fairness")


def pytest_configure() -> None:
    """
    Heed signals: what a shell starts in the background ignores some, and so would every process that a test starts.

    Nothing that is imported while tests are collected is garbage: looking for it would take a third of that time.
    """
    gc.disable()
    cpu_time.spare()
    run_directory.share()
    # Where a test doesn't say for how long it waits, httpx does so for five seconds; this machine is busy.
    DEFAULT_TIMEOUT_CONFIG.read = LATEST_ANSWER_S
    for number, handler in HEEDED.items():
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
    zygotes.install()


def pytest_collection_finish() -> None:
    """Set aside what the imports made: a test that collects garbage, as unloading a model does, needn't look at it."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> None:
    """The developer's own settings are none of the tests'."""
    for name in [name for name in os.environ if name.startswith("MURMUR_")]:
        del os.environ[name]


@pytest.fixture(scope="session", autouse=True)
def _short_tracebacks() -> None:
    """Structlog's own, with every local variable of every frame, take seconds to print. No colors: no terminal."""
    brief = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], brief])


@pytest.fixture(autouse=True)
def _no_log_context() -> None:
    """What an earlier test's request bound for its log lines is none of the next test's."""
    structlog.contextvars.clear_contextvars()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Ask everything of the ledger's own suites of each server that its users may run."""
    if "ledger_url" in metafunc.fixturenames and metafunc.module.__name__.startswith(LEDGER_SUITES):
        metafunc.parametrize("ledger_url", list(ledger_binaries()), indirect=True, scope="session")


@pytest.fixture
def anyio_backend() -> str:
    """What tests that are coroutines run on: the API's own loop, not trio's too."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _threads_die_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test sets to hear of dead threads, as a worker does, is set for that test alone."""
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)


@pytest.fixture(scope="session")
def ledger_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Valkey or Redis for the whole session; use `redis_url`, which empties it first."""
    binary = ledger_binaries()[request.param] if hasattr(request, "param") else None
    with running_ledger(tmp_path_factory.mktemp("ledger"), binary) as server:
        yield server.url


@pytest.fixture
def redis_server(ledger_url: str) -> Iterator[Redis]:
    """A client of the real server, empty at the test's start."""
    with Redis.from_url(ledger_url, decode_responses=True) as redis:
        redis.flushall()
        yield redis


@pytest.fixture
def redis_url(ledger_url: str, redis_server: Redis) -> str:
    """The URL of the real server, empty at the test's start."""
    return ledger_url


@pytest.fixture
def ledger_clock(redis_server: Redis, monkeypatch: pytest.MonkeyPatch) -> LedgerClock:
    """The ledger's clock in this process, which the test puts forward."""
    source = scripts.source
    monkeypatch.setattr(scripts, "source", lambda name, *constants: moved(source(name, *constants)))
    return LedgerClock(redis_server)


@pytest.fixture(scope="session")
def bucket_endpoint() -> Iterator[str]:
    """The URL of a server that speaks S3."""
    with bucket_server() as endpoint:
        yield endpoint


@pytest.fixture
def bucket(bucket_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket, which the environment's credentials open."""
    for name, value in credentials().items():
        monkeypatch.setenv(name, value)
    return new_bucket(bucket_endpoint)


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestPlatform]:
    """The whole platform as real processes, with one worker and the demo model, for the whole session."""
    with running_platform(tmp_path_factory.mktemp("platform")) as running:
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the platform's processes wrote last beside the failure of a test that uses it."""
    report = yield
    used = getattr(item, "funcargs", {}).get("platform")
    if report.failed and isinstance(used, TestPlatform):
        report.sections.append(("the platform's processes", "\n".join(used.lines[-LAST_LINES:])))
    return report
