"""Real servers for the contracts, and their clock."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import pytest
from redis import Redis

from tests.ledger_clock import LedgerClock, moved
from tests.platform import ledger_binaries, running_ledger
from transcription.ledger import scripts


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """The URL of a real server by its name; each is started once, when it is first asked for."""
    with ExitStack() as stack:

        @cache
        def url(name: str) -> str:
            directory = tmp_path_factory.mktemp(name)
            return stack.enter_context(running_ledger(directory, ledger_binaries()[name])).url

        yield url


@pytest.fixture
def moved_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[Redis], LedgerClock]:
    """Gives the clock of a ledger, which the test puts forward."""
    source = scripts.source
    monkeypatch.setattr(scripts, "source", lambda name, *constants: moved(source(name, *constants)))
    return LedgerClock
