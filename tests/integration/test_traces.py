"""Traces over a real wire: a collector of our own hears of the request and of the worker's span as one trace."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from demo import SAMPLES
from tests.platform import eventually, running_platform
from transcription.observability.tracing import open_traces, traceparent

ROOT = Path(__file__).parents[2]


class Collector(HTTPServer):
    """Takes OTLP over HTTP and keeps the spans."""

    def __init__(self) -> None:
        pytest.importorskip("opentelemetry.sdk", reason="the extra `otel` isn't installed")
        super().__init__(("127.0.0.1", 0), Handler)
        self.spans: list[tuple[str, Any]] = []

    def named(self, name: str) -> list[Any]:
        return [span for _, span in self.spans if span.name == name]


class Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        sent = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["content-length"])))
        for resource in sent.resource_spans:
            service = next(
                item.value.string_value for item in resource.resource.attributes if item.key == "service.name"
            )
            self.server.spans += [(service, span) for scope in resource.scope_spans for span in scope.spans]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        yield server
        server.shutdown()
        thread.join()


def test_a_clients_trace_goes_on_over_the_api_and_the_ledger_to_the_worker(
    collector: Collector, tmp_path: Path
) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    with running_platform(tmp_path) as platform, platform.client() as client:
        client._http.headers["traceparent"] = f"00-{trace_id}-b7ad6b7169203331-01"
        job = client.submit(SAMPLES["short"].path)
        client.wait(job.id, seconds=60)
        (span,) = eventually(lambda: collector.named("span"))
        request = eventually(lambda: collector.named("POST /v1/jobs"))[0]
    assert span.trace_id.hex() == request.trace_id.hex() == trace_id
    assert span.parent_span_id == request.span_id
    assert request.parent_span_id.hex() == "b7ad6b7169203331"
    told = {item.key: item.value for item in span.attributes}
    assert told["murmur.computation"].string_value
    assert told["murmur.request_id"].string_value
    assert told["murmur.audio_s"].double_value > 1
    assert {service for service, _ in collector.spans} == {"murmur-api", "murmur-worker"}


def test_an_error_that_ends_a_traced_block_is_noted(collector: Collector) -> None:
    traces = open_traces("test")
    with pytest.raises(ZeroDivisionError), traces.span("outer"), traces.span("inner"):
        1 / 0  # noqa: B018
    traces.close()
    inner = collector.named("inner")[0]
    assert inner.events[0].name == "exception"
    assert inner.trace_id == collector.named("outer")[0].trace_id


def test_without_an_endpoint_nothing_that_traces_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    # redis-py imports parts of OpenTelemetry by itself where it is installed: not those that trace or export.
    code = "import sys, api.app, worker.runtime; print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {"transcription.observability.trace_export", "opentelemetry.sdk.trace", "opentelemetry.exporter"} & set(
        said.split()
    )
    traces = open_traces("test")
    assert not traces.on
    with traces.span("outer", parent="") as span:
        assert not span.is_recording()
        assert not traceparent()
    traces.close()


def test_an_endpoint_without_the_extra_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.setitem(sys.modules, "transcription.observability.trace_export", None)
    with pytest.raises(RuntimeError, match=r"OTEL_EXPORTER_OTLP_ENDPOINT is set.*-r requirements/api.txt"):
        open_traces("test")
