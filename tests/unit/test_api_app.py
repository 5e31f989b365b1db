"""What surrounds the jobs: health, figures, models, errors, headers, log lines, the OpenAPI document."""

import json
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from subprocess import run

import anyio
import pytest
from prometheus_client.parser import text_string_to_metric_families

from api.app import create_app
from api.jobs.backpressure import drained_in_s
from tests import audio_files
from tests.api_client import Bench, bench
from tests.memory_jobs import WORKER, MemoryJobs
from transcription.observability import logs
from transcription.ports import Backlog, Lane
from transcription.settings import Settings

pytestmark = pytest.mark.anyio


async def test_health_answers_every_kind_of_client(api: Bench) -> None:
    answer = await api.http.get("/health")
    assert answer.status_code == 200
    body = answer.json()
    assert body["status"] == "ok"
    assert 0 < body["memory_percent"] <= 100
    assert body["active_tasks"] == 1
    assert (await api.http.get("/health/live")).json() == {"status": "alive"}
    assert (await api.http.get("/health/ready")).json() == {
        "status": "ready",
        "ledger": True,
        "ledger_full": False,
        "workers": 1,
    }
    queue = (await api.http.get("/health/async")).json()
    assert queue["workers"][0]["id"] == "w1"
    assert "pid" not in queue["workers"][0]


async def test_without_a_worker_the_platform_is_degraded_and_not_ready_but_takes_jobs(api: Bench) -> None:
    api.jobs.workers = ()
    assert (await api.http.get("/health")).json()["status"] == "degraded"
    assert (await api.http.get("/health/ready")).status_code == 503
    assert (await api.submit(audio_files.wav())).status_code == 202


async def test_replica_is_ready_only_where_a_job_would_be_taken_and_worked_on(tmp_path: Path) -> None:
    sick = replace(WORKER, withdrawn=("demo",))
    for number, (limits, workers, code) in enumerate(
        (({"max_memory_percent": 0.001}, (WORKER,), "memory_pressure"), ({}, (sick, sick), None))
    ):
        async with bench(tmp_path / str(number), **limits) as api:
            api.jobs.workers = workers
            ready = await api.http.get("/health/ready")
            assert (ready.status_code, ready.json().get("refusal", {}).get("code")) == (503, code)
            assert ready.json()["workers"] == (0 if sick in workers else 1)


async def test_full_queue_alone_takes_no_replica_out(tmp_path: Path) -> None:
    async with bench(tmp_path, max_queue_audio_s=100) as api:
        api.jobs.pending_audio_s = 400.0
        ready = await api.http.get("/health/ready")
        assert (ready.status_code, ready.json()["refusal"]["code"]) == (200, "queue_full")


async def test_without_the_ledger_everything_says_so_and_when_to_come_back(api: Bench) -> None:
    job = (await api.submit(audio_files.wav())).json()
    left = api.leftovers()
    api.jobs.down = True
    api.forget_backlog()
    for method, path in (("GET", job["urls"]["self"]), ("GET", "/v1/jobs"), ("GET", "/stats"), ("GET", "/v1/models")):
        answer = await api.http.request(method, path)
        problem = answer.json().get("error") or answer.json()  # OpenAI's clients read /v1/models
        assert (answer.status_code, problem["code"]) == (503, "ledger_unavailable")
        assert answer.headers["retry-after"] == "5"
    refused = await api.submit(audio_files.wav(2))
    assert (refused.status_code, refused.json()["code"]) == (503, "ledger_unavailable")
    assert api.leftovers() == left
    assert (await api.http.get("/health")).status_code == 503
    assert (await api.http.get("/health/ready")).status_code == 503
    assert (await api.http.get("/health/live")).status_code == 200
    assert "murmur_ledger_up 0.0" in (await api.http.get("/metrics/ledger")).text


async def test_workers_that_told_where_their_metrics_are_are_named_to_prometheus(tmp_path: Path) -> None:
    async with bench(tmp_path) as api:
        api.jobs.workers = (WORKER, replace(WORKER, id="w2@mini", metrics="192.168.1.20:9464"))
        answer = await api.http.get("/metrics/targets")
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == [{"targets": ["192.168.1.20:9464"]}]
        api.jobs.down = True
        api.forget_backlog()
        # Prometheus keeps the targets that it has.
        assert (await api.http.get("/metrics/targets")).status_code == 503


async def test_full_queue_refuses_before_the_body_is_read(tmp_path: Path) -> None:
    async with bench(tmp_path, max_queue_audio_s=100) as api:
        api.jobs.pending_audio_s = 400.0

        async def body() -> AsyncIterator[bytes]:
            raise AssertionError("the body was read")
            yield b""

        answer = await api.http.post("/v1/jobs", content=body(), headers={"content-type": "audio/wav"})
        assert (answer.status_code, answer.json()["code"]) == (503, "queue_full")
        # 300 audio-seconds too many, at 10 a second
        assert answer.headers["retry-after"] == "30"


@pytest.mark.parametrize(
    ("limits", "code"),
    [({"max_memory_percent": 0.001}, "memory_pressure"), ({"min_free_disk_bytes": 1 << 60}, "disk_full")],
)
async def test_short_machine_refuses_with_a_time_to_come_back(
    tmp_path: Path, limits: dict[str, float], code: str
) -> None:
    async with bench(tmp_path, **limits) as api:
        answer = await api.submit(audio_files.wav())
        assert (answer.status_code, answer.json()["code"]) == (503, code)
        assert int(answer.headers["retry-after"]) >= 30
        assert api.leftovers() == []


def test_time_until_the_queue_is_short_again_follows_the_workers_speed() -> None:
    backlog = Backlog(pending_spans=1, pending_audio_s=1000.0, running_spans=0, oldest_age_s=None, workers=(WORKER,))
    assert drained_in_s(backlog, 100.0) == 90
    assert drained_in_s(backlog, 999.0) == 5
    assert drained_in_s(replace(backlog, pending_audio_s=1e9), 0.0) == 3600
    assert drained_in_s(replace(backlog, workers=()), 100.0) == 60


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


async def test_concurrent_requests_share_one_look_at_the_ledger(api: Bench) -> None:
    import asyncio

    looks = 0
    real = MemoryJobs.backlog

    async def counted(self: MemoryJobs) -> Backlog:
        nonlocal looks
        looks += 1
        await anyio.wait_all_tasks_blocked()  # all the others have asked by now
        return await real(self)

    api.jobs.backlog = counted.__get__(api.jobs)  # type: ignore[method-assign]
    await asyncio.gather(*(api.http.get("/health") for _ in range(20)))
    assert looks == 1


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
