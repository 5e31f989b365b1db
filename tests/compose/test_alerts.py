"""Alerts on the live stack: the fault is made, and Prometheus and Alertmanager say so, with the rules as they ship."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from murmur.client.errors import JobEnded
from tests.compose.stack import Stack
from tests.platform import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

# A minute of `for`, a scrape, an evaluation, and some air.
WITHIN_S = 150


def all_fire(stack: Stack, *names: str) -> None:
    """Wait until these alerts fire, and Alertmanager has them."""
    eventually(lambda: set(names) <= stack.firing(), WITHIN_S, every_s=2)
    eventually(lambda: set(names) <= stack.alerted(), 30, every_s=1)


def redis(stack: Stack, *words: str) -> str:
    return stack.compose("exec", "-T", "redis", "redis-cli", *words)


@contextmanager
def careless_ledger(stack: Stack) -> Iterator[None]:
    """A Redis that may evict and writes nothing to its disk."""
    redis(stack, "config", "set", "maxmemory-policy", "allkeys-lru", "appendonly", "no")
    yield
    redis(stack, "config", "set", "maxmemory-policy", "noeviction", "appendonly", "yes")
    eventually(lambda: "aof_rewrite_in_progress:0" in redis(stack, "info", "persistence"), 30, every_s=0.5)


def given_up(stack: Stack, recording: Path) -> None:
    """Have no worker able to read *recording* until its time is over; then no worker is left."""
    sha256 = hashlib.sha256(recording.read_bytes()).hexdigest()
    stack.compose("stop", "worker")
    with stack.client(patience_s=60) as client:
        job = client.submit(recording, deadline_s=40)
        stack.compose("exec", "-T", "api", "chmod", "000", f"/data/blobs/{sha256[:2]}/{sha256}")
        stack.compose("start", "worker")
        with pytest.raises(JobEnded, match="deadline_exceeded"):
            client.wait(job.id, seconds=90)
    stack.compose("stop", "worker")
    stack.compose("exec", "-T", "api", "chmod", "640", f"/data/blobs/{sha256[:2]}/{sha256}")


def test_alerts_fire_without_workers_with_a_dead_letter_and_on_a_careless_ledger_and_end_with_the_fault(
    whole: Stack, recordings: Callable[[str, int, int], list[Path]]
) -> None:
    dies, waits = recordings("short", 600, 2)
    given_up(whole, dies)
    with whole.client(patience_s=60) as client:
        client.submit(waits)
    faults = {"NoWorkers", "DeadLetters", "RedisEvicts", "RedisNotDurable"}
    with careless_ledger(whole):
        all_fire(whole, *faults)
        # It has two minutes more to go.
        eventually(lambda: "QueueOld" in whole.alerts(), 60, every_s=2)
    computation = whole.compose("exec", "-T", "api", "murmur", "dead", "list").split()[0]
    whole.compose("exec", "-T", "api", "murmur", "dead", "drop", computation)
    whole.compose("start", "worker")
    eventually(lambda: not faults & set(whole.alerts()), 90, every_s=2)


def test_alerts_fire_while_the_ledger_is_gone(whole: Stack) -> None:
    whole.compose("stop", "redis")

    def refused() -> bool:
        for _ in range(5):
            assert httpx.get(f"{whole.url}/v1/jobs", timeout=10).status_code == 503
        return "HttpErrors" in whole.alerts()

    eventually(refused, WITHIN_S, every_s=2)
    all_fire(whole, "LedgerDown")


def test_alert_fires_when_no_api_answers(whole: Stack) -> None:
    whole.compose("stop", "api")
    all_fire(whole, "ApiDown")
