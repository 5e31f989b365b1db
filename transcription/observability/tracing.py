"""
Traces: one from a client's request through the ledger to the spans that workers compute.

They go where ``OTEL_EXPORTER_OTLP_ENDPOINT`` says (and the other ``OTEL_`` variables). Without it OpenTelemetry's own
no-op tracer is used, and its SDK isn't imported.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from opentelemetry.trace import NoOpTracerProvider, Span, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

Value = str | int | float | bool
_W3C = TraceContextTextMapPropagator()


class Traces:
    """Where a process's traces begin; ``on`` says whether they go anywhere."""

    def __init__(self, provider: TracerProvider, *, on: bool) -> None:
        self.on = on
        self._provider = provider
        self._tracer = provider.get_tracer("murmuration")

    @contextmanager
    def span(self, name: str, *, parent: str = "", **attributes: Value) -> Iterator[Span]:
        """
        Trace the block, as a part of *parent* or of the block around it; an error that leaves it is recorded.

        Args:
            name: What it is called.
            parent: W3C's `traceparent` of the work that this is a part of, elsewhere.
            attributes: What is known of it.
        """
        context = _W3C.extract({"traceparent": parent}) if parent else None
        with self._tracer.start_as_current_span(name, context=context, attributes=attributes) as span:
            yield span

    def close(self) -> None:
        """Send what wasn't sent yet."""
        shutdown = getattr(self._provider, "shutdown", None)  # the SDK's; the no-op provider has nothing to send
        if shutdown is not None:
            shutdown()


def traceparent() -> str:
    """W3C's `traceparent` of the block that is traced now, for its parts elsewhere; empty where nothing is traced."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier)
    return carrier.get("traceparent", "")


def open_traces(service: str) -> Traces:
    """
    The traces of this process, called *service* in them.

    Raises:
        RuntimeError: an endpoint is set, but OpenTelemetry's SDK isn't installed.
    """
    asked = [name for name in ENDPOINTS if os.environ.get(name)]
    if not asked:
        return Traces(NoOpTracerProvider(), on=False)
    try:
        module = import_module("transcription.observability.trace_export")
    except ImportError as error:
        raise RuntimeError(
            f"{asked[0]} is set, but {error.name} isn't installed: .venv/bin/python -m pip install --require-hashes "
            "--no-deps -r requirements/api.txt"
        ) from error
    return Traces(module.exporting(service), on=True)
