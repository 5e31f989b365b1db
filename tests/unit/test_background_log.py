"""Lines that a thread writes: none is lost, each with what its context knew, and in their order."""

import json
import logging
import threading
from collections.abc import Iterator
from io import StringIO

import pytest
import structlog

from transcription.observability import background_log, logs


@pytest.fixture
def untouched_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, before = root.handlers[:], root.level, structlog.get_config()
    yield
    logs.write_directly()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**before)


class _Held(StringIO):
    """A stream that nobody reads, until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()

    def write(self, text: str) -> int:
        assert self.let_go.wait(30)
        return super().write(text)


def test_who_logs_doesnt_wait_for_a_reader_and_every_line_is_there_at_the_end(untouched_logging: None) -> None:
    stream = _Held()
    logs.configure(level="INFO", style="json", service="api", stream=stream, background=True)
    for number in range(50):
        with structlog.contextvars.bound_contextvars(request_id=f"r{number}"):
            logging.getLogger("library").warning("line %s", number) if number % 2 else structlog.get_logger().info(
                f"line {number}"
            )
    assert stream.getvalue() == ""
    stream.let_go.set()
    logs.write_directly()
    structlog.get_logger().info("after the end")
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert all(
        line.keys() <= {"event", "level", "logger", "request_id", "service", "replica", "timestamp"} for line in lines
    )
    assert [line["event"] for line in lines] == [*(f"line {number}" for number in range(50)), "after the end"]
    assert [line.get("request_id") for line in lines] == [*(f"r{number}" for number in range(50)), None]


def test_more_lines_than_may_wait_are_written_by_who_logs(
    untouched_logging: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background_log, "MOST_WAITING", 2)
    stream = _Held()
    logs.configure(level="INFO", style="json", service="api", stream=stream, background=True)
    writer = threading.Thread(target=lambda: [structlog.get_logger().info(f"line {number}") for number in range(9)])
    writer.start()
    writer.join(0.2)
    assert writer.is_alive(), "it waits for the stream, and keeps no more lines"
    stream.let_go.set()
    writer.join(30)
    logs.write_directly()
    assert len(stream.getvalue().splitlines()) == 9
