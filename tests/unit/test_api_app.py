"""What surrounds the jobs: figures, models, errors, headers, log lines, the OpenAPI document."""

import json
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path
from subprocess import run

import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.app import create_app
from tests import audio_files
from tests.api_client import Bench
from tests.memory_jobs import WORKER
from transcription.observability import logs
from transcription.ports import Lane
from transcription.settings import Settings

pytestmark = pytest.mark.anyio


async def test_models_are_those_of_live_workers_with_their_aliases(api: Bench) -> None:
    models = {model["id"]: model for model in (await api.http.get("/v1/models")).json()["data"]}
    assert models["demo"]["engines"] == ["faster_whisper"]
    assert models["demo"]["devices"] == ["cpu"]
    assert models["demo"]["default"] is True
    assert models["whisper-1"]["alias_of"] == "demo"
    assert all({"id", "object", "created", "owned_by"} <= model.keys() for model in models.values())
    api.jobs.workers = (replace(WORKER, models=("large-v3",), device="cuda"),)
    api.forget_backlog()
    models = {model["id"]: model for model in (await api.http.get("/v1/models")).json()["data"]}
    assert models["large-v3"]["devices"] == ["cuda"]
    assert "demo" not in models
    languages = (await api.http.get("/v1/languages")).json()["languages"]
    assert {"code": "en", "name": "english"} in languages


async def test_model_of_a_worker_that_is_being_restarted_can_still_be_asked_for(api: Bench) -> None:
    api.jobs.workers = (replace(WORKER, models=("house-model",)),)
    assert (await api.submit(audio_files.wav(), model="house-model")).status_code == 202
    api.jobs.workers = ()
    api.forget_backlog()
    assert (await api.submit(audio_files.wav(2), model="house-model")).status_code == 202
    assert "house-model" in {one["id"] for one in (await api.http.get("/v1/models")).json()["data"]}


async def test_metrics_are_prometheus_text_by_route_template(api: Bench) -> None:
    job = (await api.submit(audio_files.wav())).json()
    await api.http.get(job["urls"]["self"])
    await api.http.get("/no/such/place")
    await api.http.request("BREW", "/no/such/place")
    await api.http.get("/openai/v1/models")
    await api.http.post("/openai/deployments/demo/audio/translations")
    api.forget_backlog()
    answer, ledger = [await api.http.get(path) for path in ("/metrics", "/metrics/ledger")]
    assert answer.headers["content-type"].startswith("text/plain")
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text + ledger.text)
        for sample in family.samples
    }
    assert samples["murmur_http_requests_total", "/v1/jobs", "202", "POST"] == 1
    assert samples["murmur_http_requests_total", "/v1/jobs/{job_id}", "200", "GET"] == 1
    assert samples["murmur_http_requests_total", "/v1/models", "200", "GET"] == 1
    assert samples["murmur_http_requests_total", "/v1/audio/translations", "400", "POST"] == 1
    assert samples["murmur_http_requests_total", "404", "GET", "unmatched"] == 1
    assert samples["murmur_http_requests_total", "404", "OTHER", "unmatched"] == 1
    assert samples["murmur_http_requests_in_flight",] == 1  # the one that asks
    assert samples["murmur_submits_total", "new"] == 1
    assert samples["murmur_upload_bytes_total",] == len(audio_files.wav())
    assert samples["murmur_jobs", "queued"] == 1
    assert samples["murmur_workers",] == 1
    assert samples["murmur_ledger_up",] == 1
    openmetrics = await api.http.get("/metrics", headers={"accept": "application/openmetrics-text"})
    assert openmetrics.text.endswith("# EOF\n")
    assert openmetrics.text.count("# EOF") == 1


async def test_metrics_as_json_for_those_who_ask(api: Bench) -> None:
    await api.submit(audio_files.wav())
    await api.submit(audio_files.text())
    answer = await api.http.get("/metrics", headers={"accept": "application/json"})
    body = answer.json()
    assert body.pop("avg_processing_time_ms") > 0
    assert body == {"total_requests": 2, "accepted_requests": 1, "rejected_requests": 1}


async def test_stats_count_jobs_queue_workers_and_cache(api: Bench) -> None:
    await api.submit(audio_files.wav())
    api.jobs.lanes = {
        "demo": Lane(workers=1, rate=2.0, unserved=0, pending=4),
        "demo\nlanguage=de": Lane(workers=0, rate=0.0, unserved=3, pending=3),
    }
    api.forget_backlog()
    body = (await api.http.get("/stats")).json()
    assert body["queue"]["unserved"] == [{"model": "demo", "needs": ["language=de"], "recordings": 3}]
    assert body["jobs"]["queued"] == 1
    assert body["queue"]["oldest_age_s"] == 2.5
    assert body["cache"] == {"hits": 1, "joined": 1, "hit_ratio": 0.25}
    assert body["workers"][0]["rate"] == 10.0
    assert body["requests"] == {"accepted": 1, "rejected": 0}


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/nowhere", 404, "route_not_found"), ("PUT", "/v1/jobs", 405, "method_not_allowed")],
)
async def test_wrong_place_or_method_is_a_problem_too(
    api: Bench, method: str, path: str, status: int, code: str
) -> None:
    answer = await api.http.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_wrong_method_names_all_that_the_path_has(api: Bench) -> None:
    assert (await api.http.put("/v1/jobs")).headers["allow"] == "GET, POST"
    assert (await api.http.put("/v1/jobs/abc")).headers["allow"] == "DELETE, GET"


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/v1/job", "/v1/jobs"),
        ("/api/v2/transcribe", "/api/v1/transcribe"),
        ("/robots.txt", ""),
        ("/internal/blob", ""),
    ],
)
async def test_of_an_unknown_path_it_is_said_which_was_meant_at_once(api: Bench, path: str, meant: str) -> None:
    detail = (await api.http.get(path)).json()["detail"]
    assert detail.partition("; ")[2] == (f"did you mean {meant}?" if meant else "")
    assert api.app.openapi_schema is None, "the document takes half a second, in which nobody else is answered"


async def test_wrong_parameter_is_named_and_its_value_repeated_in_part_only(api: Bench) -> None:
    answer = await api.http.get(f"/v1/jobs?limit={'9' * 3000}x")
    assert answer.status_code == 422
    assert "limit" in answer.json()["detail"]
    assert len(answer.content) < 1000


async def test_example_in_the_document_can_be_sent_as_it_stands(api: Bench) -> None:
    document = (await api.http.get("/openapi.json")).json()
    example = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert (await api.http.post("/v1/jobs", json=example)).status_code == 202


async def test_unforeseen_error_tells_the_client_only_a_number(api: Bench, untouched_logging: None) -> None:
    stream = StringIO()
    logs.configure(level="INFO", style="json", service="api", stream=stream)
    api.jobs.broken = ZeroDivisionError("secret detail")
    answer = await api.http.get("/v1/jobs/abc")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "secret" not in answer.text
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    line = next(json.loads(text) for text in stream.getvalue().splitlines() if "unexpected" in text)
    assert "secret detail" in line["exception"]
    assert line["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("sent", "kept"), [("abc-123", True), ("a" * 129, False), ("a b", False), ("x\u00e9", False), ("", False)]
)
async def test_request_id_is_the_clients_when_it_is_sane(api: Bench, sent: str, kept: bool) -> None:
    answer = await api.http.get("/health/live", headers=[(b"x-request-id", sent.encode())])
    assert (answer.headers["x-request-id"] == sent) is kept
    assert answer.headers["x-request-id"]


async def test_answers_carry_the_headers_that_keep_browsers_out_of_trouble(api: Bench) -> None:
    headers = (await api.http.get("/nowhere")).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "content-security-policy" not in (await api.http.get("/docs")).headers


async def test_liveness_has_an_id_safe_headers_and_a_figure_though_no_route_sees_it(api: Bench) -> None:
    answer = await api.http.get("/health/live", headers={"X-Request-ID": "mine"})
    assert answer.json() == {"status": "alive"}
    assert answer.headers["x-request-id"] == "mine"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert 'route="/health/live",status="200"' in (await api.http.get("/metrics")).text


async def test_openapi_document_is_complete(api: Bench) -> None:
    document = (await api.http.get("/openapi.json")).json()
    submit = document["paths"]["/v1/jobs"]["post"]
    assert set(submit["requestBody"]["content"]) == {
        "multipart/form-data",
        "application/json",
        "application/octet-stream",
    }
    assert {"200", "202", "400", "408", "413", "415", "422", "503"} <= set(submit["responses"])
    form = document["components"]["schemas"]["SubmitForm"]["properties"]
    assert {"file", "language", "word_timestamps", "response_format"} <= set(form)
    assert "HTTPValidationError" not in json.dumps(document)
    references = set(_references(document))
    assert {reference.rpartition("/")[2] for reference in references} <= set(document["components"]["schemas"])
    assert (await api.http.get("/docs")).status_code == 200


def test_api_needs_no_library_of_machine_learning_and_its_garbage_is_collected() -> None:
    code = (
        "import gc, sys, api.main; api.main.create(); "
        "heavy = {'ctranslate2', 'faster_whisper', 'onnxruntime', 'tokenizers', 'mlx'}; "
        "print(sorted(heavy & set(sys.modules)), 'api.app' in sys.modules, gc.isenabled())"
    )
    done = run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] True True"


def _references(node: object) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [found for value in node.values() for found in _references(value)]
    if isinstance(node, list):
        return [found for value in node for found in _references(value)]
    return []


@pytest.mark.parametrize(
    ("dialects", "served", "missing"),
    [
        (
            ("openai",),
            ["/v1/audio/transcriptions", "/v1/audio/translations", "/v1/jobs"],
            ["/transcribe", "/v1/transcribe"],
        ),
        (("whisper_serve",), ["/transcribe", "/v1/jobs"], ["/v1/audio/transcriptions", "/v1/chat/completions"]),
        ((), ["/v1/jobs", "/health"], ["/transcribe", "/v1/audio/transcriptions", "/api/v1/jobs"]),
    ],
)
def test_only_the_dialects_that_are_asked_for_are_mounted(
    tmp_path: Path, dialects: tuple[str, ...], served: list[str], missing: list[str]
) -> None:
    app = create_app(Settings(data_dir=tmp_path, api={"dialects": dialects}))
    paths = app.openapi()["paths"]
    assert [path for path in served if path not in paths] == []
    assert [path for path in missing if path in paths] == []
