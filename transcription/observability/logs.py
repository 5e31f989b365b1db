"""Log lines: JSON for machines or text for people, one format for our own lines and every library's."""

import logging
import socket
import sys
from typing import Any, Literal, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor

from transcription.observability.background_log import BackgroundHandler

# Uvicorn's own request lines would say everything twice.
_SILENT = ("uvicorn.access",)
# Who writes stands before each line; Celery's data and uvicorn's colours say what the line already tells.
_OBVIOUS = frozenset(("service", "replica", "logger", "data", "request_id", "traceparent", "color_message"))
# That a task began, and how it ended, is told by us with what it was about, and by Celery once more.
_LESS = ("python_multipart", "asyncio", "httpx", "httpcore", "celery.app.trace", "celery.worker.strategy")


def configure(
    *,
    level: str,
    style: Literal["json", "text"],
    service: str,
    replica: str | None = None,
    stream: TextIO | None = None,
    background: bool = False,
) -> None:
    """
    Set up logging for this process.

    Args:
        level: Least level that is logged, as `DEBUG`, `INFO`, `WARNING` or `ERROR`.
        style: `json`: one object a line; `text`: for a terminal.
        service: Part of the platform that writes, as `api`; stands in every line.
        replica: Which of several it is, as metrics and Flower call it; by default the machine's or container's name.
        stream: Where lines go; standard error by default.
        background: A thread encodes and writes the lines; call `write_directly` before the process ends.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso" if style == "json" else "%H:%M:%S", utc=style == "json"),
        _name(service, replica or socket.gethostname()),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared[:3],
            *shared[4:],
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_ending(style)))
    root = logging.getLogger()
    write_directly()
    root.handlers[:] = [BackgroundHandler(handler) if background else handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", *_SILENT):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name not in _SILENT
    for name in _LESS:
        logging.getLogger(name).setLevel(logging.ERROR)


def write_directly() -> None:
    """Write what a thread still has, and every line from now on at once: the process is about to end."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, BackgroundHandler):
            handler.close()


def _ending(style: str) -> list[Processor]:
    first = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if style == "text":
        return [first, structlog.processors.format_exc_info, _brief]
    return [first, structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_dumps)]


def _brief(_logger: Any, _method: str, event: EventDict) -> str:
    """One line that a person reads: the time, a level that matters, what happened, and what else is known."""
    time, level = event.pop("timestamp", ""), event.pop("level", "info")
    exception = event.pop("exception", None)
    said = str(event.pop("event", ""))
    if said == "request":
        said = _request(event)
    else:
        facts = (f"{name}={value}" for name, value in event.items() if name not in _OBVIOUS and value is not None)
        said = " ".join([said, *facts])
    mark = "" if level in ("info", "debug") else f"{level.upper()} "
    lines = [_harmless(line) for line in str(exception).splitlines()] if exception else []
    return "\n".join([f"{time} {mark}{_harmless(said)}", *lines])


def _harmless(text: str) -> str:
    """*text* with what a terminal would act on, or what would begin another line, written out: a client may send it."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def _request(event: EventDict) -> str:
    """A request in half a line; its error in words, with the number under which an operator finds more."""
    said = (
        f"{event.get('method')} {event.get('path')} {event.get('status')} {event.get('processing_time_ms', 0):.0f} ms"
    )
    if event.get("error"):
        said += f"  {event['error']}: {event.get('error_message') or ''} (request {event.get('request_id')})"
    return said


def _name(service: str, replica: str) -> Processor:
    def add(_logger: Any, _method: str, event: EventDict) -> EventDict:
        event["service"], event["replica"] = service, replica
        return event

    return add


def _dumps(value: Any, **_: Any) -> str:
    return orjson.dumps(value, default=str).decode()
