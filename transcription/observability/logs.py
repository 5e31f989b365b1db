"""Log lines: JSON for machines or text for people, one format for our own lines and every library's."""

import logging
import sys
from typing import Any, Literal, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor

# Uvicorn's own request lines would say everything twice.
_SILENT = ("uvicorn.access",)
_LESS = ("python_multipart", "asyncio", "httpx", "httpcore")


def configure(*, level: str, style: Literal["json", "text"], service: str, stream: TextIO | None = None) -> None:
    """
    Set up logging for this process.

    Args:
        level: Least level that is logged, as `DEBUG`, `INFO`, `WARNING` or `ERROR`.
        style: `json`: one object a line; `text`: for a terminal.
        service: Part of the platform that writes, as `api`; stands in every line.
        stream: Where lines go; standard error by default.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _name(service),
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
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_ending(style, stream or sys.stderr))
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", *_SILENT):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name not in _SILENT
    for name in _LESS:
        logging.getLogger(name).setLevel(logging.ERROR)


def _ending(style: str, stream: TextIO) -> list[Processor]:
    first = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if style == "text":
        return [
            first,
            structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback),
        ]
    return [first, structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_dumps)]


def _name(service: str) -> Processor:
    def add(_logger: Any, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    return add


def _dumps(value: Any, **_: Any) -> str:
    return orjson.dumps(value, default=str).decode()
