"""Which Celery queues a worker takes hints from."""

from collections.abc import Iterator

import pytest

from tests.platform import eventually
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
