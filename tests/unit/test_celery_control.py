"""What operators tell a worker through Celery, and what its consumer does with a hint, without any broker."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.worker.control import Panel

from transcription.errors import LedgerUnavailable
from worker.consumer import celery_internals, control
from worker.consumer.celery_internals import EVENTS_S, GroupingConsumer, Shown, WorkerQueues, claim_first
from worker.consumer.shared_transport import SharedChannel


class Runtime:
    """Knows the job `a`; may have no ledger."""

    def __init__(self) -> None:
        self.canceled: list[str] = []
        self.away = False

    def cancel(self, job_id: str) -> str:
        if self.away:
            raise LedgerUnavailable("the ledger is away", retry_after_s=1)
        self.canceled.append(job_id)
        return "canceled" if job_id in {"a", "b"} else "unknown"


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Runtime:
    monkeypatch.setattr(Panel, "data", dict(Panel.data))
    made = Runtime()
    control.install(lambda: made)
    return made


def revoke(*ids: str) -> Any:
    return Panel.data["revoke"](SimpleNamespace(), list(ids) if len(ids) > 1 else ids[0])


def test_every_job_whose_task_is_revoked_is_canceled(runtime: Runtime) -> None:
    assert "ok" in revoke("a-0", "b-3")
    assert runtime.canceled == ["a", "b"]
    assert "ok" in revoke("a-7")


def test_a_task_of_no_job_is_told_beside_what_was_done(runtime: Runtime) -> None:
    answer = revoke("a-0", "ghost-1")
    assert "no job for ghost-1" in answer["error"]
    assert runtime.canceled == ["a", "ghost"]


def test_a_revoke_while_the_ledger_is_away_is_refused_and_the_worker_lives(runtime: Runtime) -> None:
    runtime.away = True
    assert revoke("a-0") == {"error": "the ledger is away"}


def test_what_has_another_way_here_is_refused(runtime: Runtime) -> None:
    for name in ("pool_grow", "pool_shrink", "pool_restart", "autoscale", "rate_limit", "time_limit"):
        assert "error" in Panel.data[name](SimpleNamespace())
    assert runtime.canceled == []


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The messages of which Celery makes tasks."""
    made: list[Any] = []
    monkeypatch.setattr(
        celery_internals, "default_strategy", lambda *_a, **_o: lambda message, *_: made.append(message)
    )
    return made


@pytest.mark.parametrize("work", [True, False])
def test_a_hint_is_used_up_where_there_is_no_work_and_else_it_is_the_span_s_task(taken: list[Any], work: bool) -> None:
    shown = Shown(id="j-0", name="transcribe", retries=2, keywords={"job": "j"}) if work else None
    acknowledged: list[Any] = []
    strategy = claim_first(lambda: shown, SimpleNamespace(), Celery(), SimpleNamespace(connection_errors=()))  # type: ignore[arg-type]
    message = SimpleNamespace(headers={"id": "hint"})
    strategy(message, None, lambda *how: acknowledged.append(how), None, [])
    assert len(acknowledged) == (0 if work else 1)
    assert len(taken) == (1 if work else 0)
    if work:
        assert (message.headers["id"], message.headers["retries"]) == ("j-0", 2)
        assert message._decoded_cache == [(), {"job": "j"}, {}]


def test_queues_are_changed_by_the_consumer_s_own_thread_and_only_where_there_is_one() -> None:
    assert not WorkerQueues(SimpleNamespace()).add("q")
    assert not WorkerQueues(SimpleNamespace(consumer=SimpleNamespace(task_consumer=None))).cancel("q")
    later: list[Any] = []
    changed: list[str] = []

    def lost(_queue: str) -> None:
        raise ConnectionError("lost just now")

    consumer = SimpleNamespace(
        task_consumer=1, call_soon=later.append, add_task_queue=changed.append, cancel_task_queue=lost
    )
    queues = WorkerQueues(SimpleNamespace(consumer=consumer))
    assert queues.add("q")
    assert queues.cancel("q")
    assert changed == []
    for change in later:
        change()
    assert changed == ["q"]
    assert len(later) == 2


def test_a_worker_listens_to_no_other_worker() -> None:
    worker = SimpleNamespace(options={"without_gossip": False})
    celery_internals.leave_out(worker)
    assert worker.options == {
        "without_gossip": True, "without_mingle": True, "heartbeat_interval": celery_internals.HEARTBEAT_INTERVAL_S
    }  # fmt: skip
    worker.options["heartbeat_interval"] = 3.0
    celery_internals.leave_out(worker)
    assert worker.options["heartbeat_interval"] == 3.0


class Hub:
    """A loop that does at once what is to be done soon, and what is later when it is told to."""

    def __init__(self) -> None:
        self.later: list[tuple[float, Callable[[], object]]] = []

    def call_soon(self, callback: Callable[..., object], *given: object) -> None:
        callback(*given)

    def call_later(self, delay: float, callback: Callable[[], object]) -> None:
        self.later.append((delay, callback))


def test_events_of_a_moment_are_sent_together_and_those_after_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr(celery_internals, "time", clock)
    now, flushed, hub = [100.0], list[float](), Hub()
    consumer = object.__new__(GroupingConsumer)
    consumer.hub = hub
    consumer.event_dispatcher = SimpleNamespace(flush=lambda: flushed.append(now[0]))
    for _ in range(3):
        consumer.on_send_event_buffered()
    assert [delay for delay, _ in hub.later] == [EVENTS_S]
    now[0] += EVENTS_S  # what comes from now on, the first message may lack
    consumer.on_send_event_buffered()
    assert len(hub.later) == 2
    for _, send in hub.later:
        send()
    assert flushed == [now[0]] * 2

    consumer.hub = None  # without a loop they stay where they are
    now[0] += EVENTS_S
    consumer.on_send_event_buffered()
    assert len(hub.later) == 2


def test_a_channel_sends_all_by_one_client_until_its_connections_are_lost() -> None:
    channel = object.__new__(SharedChannel)
    made: list[object] = []

    def client(**_: object) -> object:
        made.append(object())
        return made[-1]

    channel.Client = client
    channel._async_pool = channel._sentinel_manager = channel._async_sentinel_manager = None
    for _ in range(2):
        channel._pool = SimpleNamespace(connection_kwargs={}, disconnect=lambda: None)
        assert channel._create_client() is channel._create_client() is made[-1]
        channel._disconnect_pools()
    assert len(made) == 2
