"""
Traces: one from a client's request through the ledger to the spans that workers compute.

They go where ``OTEL_EXPORTER_OTLP_ENDPOINT`` says (and the other ``OTEL_`` variables); without it nothing is traced
and nothing of OpenTelemetry is imported.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from typing import Protocol

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

Value = str | int | float | bool


class Trace(Protocol):
    """One piece of work that is traced; ``traceparent`` (W3C) is what its parts elsewhere name as their parent."""

    traceparent: str

    def rename(self, name: str) -> None:
        """Call it otherwise, now that more is known."""

    def set_attributes(self, **attributes: Value) -> None:
        """Add attributes."""


class Traces(Protocol):
    """Where traces begin."""

    on: bool

    def span(self, name: str, *, parent: str = "", **attributes: Value) -> AbstractContextManager[Trace]:
        """Trace the block, as a part of *parent* or of the block around it; an error that leaves it is noted."""

    def close(self) -> None:
        """Send what wasn't sent yet."""


class Untraced:
    """A Trace and Traces that do nothing."""

    on = False
    traceparent = ""

    def rename(self, name: str) -> None:
        """Nothing."""

    def set_attributes(self, **attributes: Value) -> None:
        """Nothing."""

    @contextmanager
    def span(self, name: str, *, parent: str = "", **attributes: Value) -> Iterator[Trace]:  # noqa: ARG002
        """Nothing around the block."""
        yield self

    def close(self) -> None:
        """Nothing."""


def open_traces(service: str) -> Traces:
    """
    The traces of this process, called *service* in them.

    Raises:
        RuntimeError: an endpoint is set, but OpenTelemetry isn't installed.
    """
    asked = [name for name in ENDPOINTS if os.environ.get(name)]
    if not asked:
        return Untraced()
    try:
        module = import_module("transcription.observability.otel")
    except ImportError as error:
        raise RuntimeError(f"{asked[0]} is set, but {error.name} isn't installed: murmuration[otel]") from error
    traces: Traces = module.Exported(service)
    return traces
