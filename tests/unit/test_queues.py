"""Which Celery queues a worker takes hints from."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.platform import eventually
from transcription.errors import LedgerUnavailable
from worker.consumer import queues as queues_module
from worker.consumer.queues import Queues


class Consumer:
    """Notes what it is told; while it is ``away`` it can't be told anything."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.away = False

    def add(self, queue: str) -> bool:
        return self._note(f"add {queue}")

    def cancel(self, queue: str) -> bool:
        return self._note(f"cancel {queue}")

    def _note(self, what: str) -> bool:
        if not self.away:
            self.told.append(what)
        return not self.away


@pytest.fixture
def consumer() -> Consumer:
    return Consumer()


@pytest.fixture
def waiting() -> list[str]:
    return []


@pytest.fixture
def queues(consumer: Consumer, waiting: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Queues]:
    monkeypatch.setattr(queues_module, "FOLLOW_INTERVAL_S", 0.005)
    running = Queues(consumer, models=("demo",), waiting=lambda: list(waiting), suits=lambda lane: "cuda" not in lane)
    running.start()
    yield running
    running.stop()
    running.join(10)


def test_a_queue_is_consumed_once_something_waits_in_it_that_this_worker_can_do(
    queues: Queues, consumer: Consumer, waiting: list[str]
) -> None:
    consumer.away = True
    waiting += ["demo", "demo\ndevice=cuda", "demo\nlanguage=en"]
    eventually(queues.is_alive)
    consumer.away = False  # Celery has reached its broker by now
    eventually(lambda: consumer.told)
    waiting.append("demo\nlanguage=de")
    eventually(lambda: len(consumer.told) == 2)
    assert consumer.told == ["add murmur.demo.language=en", "add murmur.demo.language=de"]


def test_quarantine_leaves_all_hints_to_others_until_it_is_over(
    queues: Queues, consumer: Consumer, waiting: list[str]
) -> None:
    queues.consume(False)
    waiting.append("demo\nlanguage=en")
    assert consumer.told == ["cancel murmur", "cancel murmur.demo"]
    queues.consume(True)
    eventually(lambda: len(consumer.told) == 5)
    assert consumer.told[2:] == ["add murmur", "add murmur.demo", "add murmur.demo.language=en"]


class Lanes:
    """What waits in the ledger, which is away for the next ``outages`` looks; how often it was looked at."""

    def __init__(self, *lanes: str, outages: int = 0) -> None:
        self.waiting = list(lanes)
        self.outages = outages
        self.looks = 0

    def __call__(self) -> list[str]:
        self.looks += 1
        if self.looks <= self.outages:
            raise LedgerUnavailable("the ledger is away", retry_after_s=1)
        return list(self.waiting)

    def looked_at_again(self) -> None:
        seen = self.looks
        eventually(lambda: self.looks > seen + 2)


@contextmanager
def following(consumer: Consumer, lanes: Callable[[], list[str]]) -> Iterator[Queues]:
    running = Queues(consumer, models=("demo",), waiting=lanes, suits=lambda _: True)
    running.start()
    try:
        yield running
    finally:
        running.stop()
        running.join(10)


def test_a_language_s_queue_is_left_when_nothing_has_waited_in_it_for_long(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues_module, "FOLLOW_INTERVAL_S", 0.005)
    monkeypatch.setattr(queues_module, "IDLE_S", 0.01)
    lanes = Lanes("demo\nlanguage=en")
    with following(consumer, lanes):
        eventually(lambda: consumer.told == ["add murmur.demo.language=en"])
        lanes.looked_at_again()  # it is kept while something waits
        assert len(consumer.told) == 1
        lanes.waiting.clear()
        eventually(lambda: consumer.told[1:] == ["cancel murmur.demo.language=en"])


def test_lanes_are_followed_again_after_an_outage_of_the_ledger(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues_module, "FOLLOW_INTERVAL_S", 0.005)
    with following(consumer, Lanes("demo\nlanguage=en", outages=3)):
        eventually(lambda: consumer.told == ["add murmur.demo.language=en"])


def test_a_worker_in_quarantine_leaves_the_queues_of_languages_and_takes_up_no_other(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues_module, "FOLLOW_INTERVAL_S", 0.005)
    lanes = Lanes("demo\nlanguage=en")
    with following(consumer, lanes) as queues:
        eventually(lambda: consumer.told)
        queues.consume(False)
        left = ["cancel murmur", "cancel murmur.demo", "cancel murmur.demo.language=en"]
        assert consumer.told[1:] == left
        lanes.waiting.append("demo\nlanguage=de")
        lanes.looked_at_again()
        assert consumer.told[1:] == left
