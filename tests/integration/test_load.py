"""The load measurements, for seconds: they start what they say they start, and count what they say they count."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from bench.load import clients, polls, soak, uploads, wrk
from bench.load.stack import Stack, pin, running

SAID = """
Running 1s test @ http://127.0.0.1:1
  Latency Distribution
     50%    1.20ms
     99%  850.00us
  Socket errors: connect 1, read 0, write 0, timeout 2
  Non-2xx or 3xx responses: 4
Requests/sec:   1234.50
"""


def test_what_wrk_says_is_read_with_its_units_and_every_kind_of_error() -> None:
    assert wrk.parsed(SAID) == wrk.Answered(1234.5, 0.85, 7)
    with pytest.raises(SystemExit, match="something else"):
        wrk.parsed("unable to connect")


def test_recording_of_a_size_has_that_size_and_a_number_of_its_own() -> None:
    one, other = (b"".join(uploads.wav(1_000_000, number)) for number in (1, 2))
    assert len(one) == len(other) == 1_000_000
    assert one != other


def test_growth_is_what_is_more_in_the_last_quarter_than_in_the_second_and_not_what_comes_at_the_start() -> None:
    level = dict.fromkeys(soak.NAMES, 100.0)
    found = soak.Soak(looks=[{**level, "api MB": 20.0}, *[level] * 15])
    assert found.grown() == {}
    found.looks = [{**level, "api MB": 100.0 + 3 * number} for number in range(16)]
    assert [*found.grown()] == ["api MB"]


def test_jobs_without_a_transcript_are_unaccounted_for() -> None:
    assert soak.Soak(accepted=3, ends=Counter(completed=2, failed=1)).unaccounted() == 1


@pytest.mark.timeout(180)
def test_clients_of_every_kind_are_held_and_hear_of_their_jobs_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "SETTLE_S", 0.0)
    held = clients.hold(clients=30, seconds=4, ends_per_s=5, step_s=0, pace=0.05)
    assert not held.seen.errors
    assert held.seen.polls_ms
    assert all(held.seen.ends_ms[kind] for kind in clients.KINDS)
    assert held.seen.here == dict.fromkeys(clients.KINDS, 10)
    assert "errors | 0" in clients.table(held)


@pytest.fixture(autouse=True)
def _every_core() -> Iterator[None]:
    """Measurements keep this process to one core, and with it all that later tests would start."""
    before = os.sched_getaffinity(0)
    yield
    pin(os.getpid(), *before)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running(tmp_path_factory.mktemp("stack"), worker=True) as started:
        yield started


@pytest.fixture
def one_stack(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Measurements that start the same take one after the other of it: each start takes seconds."""

    def started(
        _: Path, *, worker: bool, through_nginx: bool = False, **settings: str
    ) -> AbstractContextManager[Stack]:
        assert worker
        assert not through_nginx
        assert all(name.startswith(("RETENTION__", "LEDGER__AUDIT_LENGTH")) for name in settings)
        return nullcontext(stack)

    for module in (polls, soak):
        monkeypatch.setattr(module, "running", started)


@pytest.mark.timeout(180)
@pytest.mark.usefixtures("one_stack")
def test_soak_of_seconds_accounts_for_every_job() -> None:
    found = soak.soak(seconds=3, find_s=2, look_s=0.5)
    assert found.accepted >= 3
    assert found.unaccounted() == 0
    assert len(found.looks) >= 2
    assert "unaccounted for: 0" in soak.table(found)


@pytest.mark.timeout(180)
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk isn't installed")
@pytest.mark.usefixtures("one_stack")
def test_polls_are_a_share_of_the_bare_routes_in_the_same_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polls, "JOBS", 2)
    rows = polls.measure(seconds=1, rounds=1, through_nginx=False)
    assert not any(row.errors for row in rows)
    shares = [share for row in rows for share in row.shares()]
    assert len(shares) == 4
    assert all(share > 0 for share in shares)
    assert polls.table(rows).count("\n") == 1 + len(rows)
