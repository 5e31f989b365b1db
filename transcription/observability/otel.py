"""Traces over OpenTelemetry's SDK and OTLP; imported only where an endpoint is set."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from transcription.observability.tracing import Trace, Value

_FORM = TraceContextTextMapPropagator()


class Exported:
    """Traces that are sent in the background, and dropped where nobody takes them."""

    on = True

    def __init__(self, service: str) -> None:
        resource = Resource.create({"service.name": f"murmur-{service}"})
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("murmuration")

    @contextmanager
    def span(self, name: str, *, parent: str = "", **attributes: Value) -> Iterator[Trace]:
        """Trace the block: see Traces."""
        context = _FORM.extract({"traceparent": parent}) if parent else None
        with self._tracer.start_as_current_span(name, context=context, attributes=attributes) as span:
            yield _Traced(span)

    def close(self) -> None:
        """Send what wasn't sent yet."""
        self._provider.shutdown()


class _Traced:
    def __init__(self, span: Span) -> None:
        self._span = span
        carrier: dict[str, str] = {}
        _FORM.inject(carrier)
        self.traceparent = carrier.get("traceparent", "")

    def rename(self, name: str) -> None:
        """Call it otherwise."""
        self._span.update_name(name)

    def set_attributes(self, **attributes: Value) -> None:
        """Add attributes."""
        self._span.set_attributes(attributes)
