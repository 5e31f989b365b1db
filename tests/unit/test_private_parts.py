"""What we use of other packages without their promise is there as we know it, in the versions that may come."""

import ast
import inspect
import re
import tomllib
from pathlib import Path

import pytest
import uvicorn
from celery import Celery, Task
from celery.worker import strategy
from celery.worker.consumer import Consumer, Gossip, Mingle
from celery.worker.consumer.events import Events
from celery.worker.consumer.heart import Heart
from celery.worker.request import Request
from celery.worker.worker import WorkController
from faster_whisper import WhisperModel
from faster_whisper.transcribe import get_compression_ratio, get_ctranslate2_storage, get_suppressed_tokens
from kombu.asynchronous.hub import Hub
from kombu.message import Message
from kombu.transport import virtual
from kombu.transport.redis import Channel
from redis import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.connection import AbstractConnection
from slowapi import Limiter
from slowapi.wrappers import LimitGroup
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from worker.consumer.shared_transport import SharedChannel

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

PLACES = {
    "api/auth/rate_limits.py": ("slowapi",),
    "api/server.py": ("uvicorn",),
    "murmur/backup/snapshot.py": ("redis",),
    "transcription/ledger/broker.py": ("celery", "kombu"),
    "worker/consumer/celery_internals.py": ("celery", "kombu"),
    "worker/engines/stages.py": ("faster-whisper",),
    "worker/engines/torch/device/captured.py": ("torch",),
}
"""The one file for what we use of each package beyond its promise."""


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)  # type: ignore[arg-type]


@pytest.mark.parametrize("package", sorted({package for packages in PLACES.values() for package in packages}))
def test_only_versions_come_in_whose_private_parts_were_looked_at(package: str) -> None:
    wanted = [
        *PROJECT["dependencies"],
        *(line for extra in PROJECT["optional-dependencies"].values() for line in extra),
    ]
    lines = [line for line in wanted if re.match(rf"{package}[\[>=]", line)]
    assert lines
    assert all(re.search(r"[>=]=(\d+)\.(\d+)[\d.]*,<\1\.\d+(\.\d+)?$", line) for line in lines), lines


def _reaches_in(path: Path) -> bool:
    """Whether code takes an underscored name of something that isn't its own module's: `thing._name`."""
    tree = ast.parse(path.read_text("utf-8"))
    own = {name for node in ast.walk(tree) if (name := _defined(node))}
    return any(
        isinstance(node, ast.Attribute)
        and re.match(r"_[a-z]", node.attr)
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls", "os"))
        and node.attr not in own
        for node in ast.walk(tree)
    )


def _defined(node: ast.AST) -> str:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return node.name
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
        return node.attr
    return ""


def test_nothing_else_reaches_into_another_package() -> None:
    files = [path for room in ("api", "worker", "murmur", "transcription") for path in (ROOT / room).rglob("*.py")]
    found = {str(path.relative_to(ROOT)) for path in files if _reaches_in(path)}
    assert found <= set(PLACES), found - set(PLACES)


def test_celery_has_what_a_message_is_turned_into_a_task_by() -> None:
    assert parameters(strategy.default)[:3] == ["task", "app", "consumer"]
    assert "self.Strategy, self, app, consumer" in inspect.getsource(Task.start_strategy)
    message = Message(body="{}", content_type="application/json")
    message._decoded_cache = [(), {"job": "j1"}, {}]
    assert message.payload == [(), {"job": "j1"}, {}]
    shown = {"id": "j1-0", "root_id": "j1-0", "argsrepr": "()", "kwargsrepr": "{'job': 'j1'}", "retries": 1}
    message.headers.update(shown, task="murmur.pull", shadow="murmur.transcribe.batch")
    with Celery("t") as app:
        task = app.task(parameters, name="murmur.pull", shared=False, lazy=False)
        request = Request(message, app=app, hostname="w", task=task)
    assert {name: getattr(request, name, None) for name in ("id", "root_id", "argsrepr", "kwargsrepr")} == {
        name: shown[name] for name in ("id", "root_id", "argsrepr", "kwargsrepr")
    }
    assert request.name == "murmur.transcribe.batch"
    assert request.kwargs == {"job": "j1"}


def test_celery_has_what_a_worker_leaves_out_and_follows_its_queues_by() -> None:
    assert "self.options = kwargs" in inspect.getsource(WorkController.setup_instance)
    order = inspect.getsource(WorkController.setup_instance)
    assert order.index("self.options = kwargs") < order.index("signals.worker_init.send(sender=self)")
    assert "without_gossip" in parameters(Gossip.__init__)
    assert "without_mingle" in parameters(Mingle.__init__)
    assert "heartbeat_interval" in parameters(Heart.__init__)
    assert parameters(Consumer.call_soon)[:2] == ["self", "p"]
    for method in (Consumer.add_task_queue, Consumer.cancel_task_queue):
        assert parameters(method)[:2] == ["self", "queue"]
        assert "self.task_consumer" in inspect.getsource(method)
    assert "wake" in inspect.getsource(Hub.call_soon), "another thread's call wakes the loop"


def test_kombu_keeps_a_queue_in_a_list_of_its_name() -> None:
    channel = object.__new__(Channel)
    assert channel._q_for_pri("murmur.demo", 0) == "murmur.demo"
    assert ".llen(self._q_for_pri(queue, pri))" in inspect.getsource(Channel._size)


def test_redis_py_keeps_its_socket_where_a_snapshot_is_read_from() -> None:
    for kind in (Connection, SSLConnection, UnixDomainSocketConnection):
        assert issubclass(kind, AbstractConnection)
    assert "self._sock = sock" in inspect.getsource(AbstractConnection)


def test_slowapi_has_the_registry_that_our_limits_are_kept_in() -> None:
    limiter = Limiter(key_func=str, strategy="moving-window", key_prefix="murmur")
    assert limiter._route_limits == {}
    assert limiter._key_prefix == "murmur"
    assert limiter._key_func is str
    (limit,) = LimitGroup("5/minute", str, "name", False, None, None, None, 1, False)
    assert (limit.limit.amount, limit.limit.get_expiry()) == (5, 60)


def test_the_server_has_what_its_stop_is_built_on() -> None:
    server = uvicorn.Server(uvicorn.Config(app=lambda: None))  # type: ignore[arg-type]
    assert isinstance(server.server_state, ServerState)
    assert server.server_state.connections == set()
    assert parameters(uvicorn.Server.shutdown) == ["self", "sockets"]
    assert "self.servers" in inspect.getsource(uvicorn.Server.startup)
    assert parameters(HttpToolsProtocol.__init__)[1:4] == ["config", "server_state", "app_state"]
    assert "self.cycle" in inspect.getsource(HttpToolsProtocol.__init__)
    assert "response_started" in inspect.getsource(RequestResponseCycle.__init__)


def test_faster_whisper_has_what_our_stages_call() -> None:
    assert parameters(WhisperModel._split_segments_by_timestamps)[1:] == [
        "tokenizer", "tokens", "time_offset", "segment_size", "segment_duration", "seek",
    ]  # fmt: skip
    assert parameters(WhisperModel.add_word_timestamps)[1:6] == [
        "segments", "tokenizer", "encoder_output", "num_frames", "prepend_punctuations",
    ]  # fmt: skip
    assert "self.find_alignment(" in inspect.getsource(WhisperModel.add_word_timestamps)
    assert parameters(WhisperModel.find_alignment)[1:3] == ["tokenizer", "text_tokens"]
    assert {"previous_tokens", "without_timestamps", "prefix", "hotwords"} < set(parameters(WhisperModel.get_prompt))
    for function in (get_compression_ratio, get_ctranslate2_storage, get_suppressed_tokens):
        assert callable(function)
    source = inspect.getsource(WhisperModel.__init__)
    assert all(f"self.{name}" in source for name in ("frames_per_second", "tokens_per_second", "max_length"))


def test_celerys_consumer_is_told_of_buffered_events_and_sends_them_from_its_loop() -> None:
    assert "on_send_buffered=c.on_send_event_buffered" in inspect.getsource(Events.start)
    assert parameters(Consumer._flush_events) == ["self"]
    assert parameters(Hub.call_soon) == ["self", "callback", "args"]
    assert parameters(Hub.call_later) == ["self", "delay", "callback", "args"]


def test_kombus_channels_make_their_connections_where_ours_share_one() -> None:
    assert parameters(Channel._get_pool) == ["self", "asynchronous"]
    assert parameters(Channel._connparams) == ["self", "asynchronous"]
    made = inspect.getsource(Channel._create_client)
    assert "self.async_pool" in made
    assert "self.pool" in made
    assert "self._pool" in inspect.getsource(Channel._disconnect_pools)
    assert "keyprefix_fanout.format(db=params['db'])" in inspect.getsource(Channel._get_pool)


def test_kombus_channels_keep_hints_in_hand_as_ours_say() -> None:
    assert "self.QoS(self)" in inspect.getsource(virtual.Channel)
    assert SharedChannel.QoS.append is virtual.QoS.append, "not Redis's, which tells the broker"


def test_the_pool_that_threads_share_is_built_on_what_redis_py_has() -> None:
    assert {"get_connection", "release"} < set(vars(ConnectionPool))
    assert "self.release(connection)" in inspect.getsource(ConnectionPool.get_connection)
