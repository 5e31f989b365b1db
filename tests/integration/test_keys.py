"""API keys: required by a setting, kept as hashes, good for their scopes and their tenant's jobs only."""

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from redis import Redis
from typer.testing import CliRunner

from api.auth.access import PUBLIC, surface_of
from murmur.cli.main import app as cli
from tests.api_client import Bench
from tests.live_api import live_api
from tests.secured_api import WAV, bearer, key_store, secured, settings_for
from transcription.access import Scope
from transcription.computation import DeadLetter
from transcription.job import Failure
from transcription.options import Decoding
from transcription.settings import Limits, Settings

pytestmark = pytest.mark.anyio


@pytest.fixture
async def api(redis_url: str, tmp_path: Path) -> AsyncIterator[Bench]:
    async with secured(settings_for(redis_url, tmp_path / "data", audit_log=str(tmp_path / "audit.jsonl"))) as running:
        yield running


async def submit(api: Bench, key: dict[str, str]) -> httpx.Response:
    return await api.http.post("/v1/jobs", files={"file": ("a.wav", WAV)}, headers=key)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_without_a_key_nothing_but_health_answers(api: Bench) -> None:
    closed = 0
    document = api.app.openapi()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "api_key"}
    assert len(document["paths"]) > 30
    for template, methods in document["paths"].items():
        path = re.sub(r"{\w+}", "x", template)
        for method, operation in methods.items():  # fine: a path has methods
            answer = await api.http.request(method.upper(), path)
            if path in PUBLIC or surface_of(path) in {"metrics", "stats"}:
                assert answer.status_code != 401, (method, path)
                assert operation["security"] == [], (method, path)
                continue
            # A dialect says it in its own words.
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"] == "Bearer"
            assert operation["security"] == [{"bearer": []}, {"api_key": []}], (method, path)
            closed += 1
    assert closed >= 8
    # What no route has isn't told either.
    assert code(await api.http.get("/v1/no/such/route")) == (401, "unauthorized")


async def test_a_wrong_key_is_openai_s_error_where_openai_s_clients_look(api: Bench) -> None:
    for path in ("/v1/models", "/v1/models/demo", "/v1/audio/transcriptions"):
        answer = await api.http.request("GET" if "models" in path else "POST", path, headers={"X-API-Key": "mur_wrong"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")


@pytest.mark.parametrize(
    "secret", ["", "mur_", "mur_" + "A" * 43, "A" * 43, "mur_" + "x" * 5000, "mur_\xff", "default"]
)
async def test_what_is_no_key_is_refused(api: Bench, secret: str) -> None:
    for headers in ({"Authorization": f"Bearer {secret}"}, {"X-API-Key": secret}):
        raw = {name: value.encode("latin-1") for name, value in headers.items()}
        assert code(await api.http.get("/v1/jobs", headers=raw)) == (401, "unauthorized")  # type: ignore[arg-type]


async def test_a_key_works_in_either_header_until_it_is_revoked(api: Bench, redis_url: str) -> None:
    with key_store(redis_url) as keys:
        key, secret = keys.create(name="n", tenant="acme", scopes=frozenset({Scope.READ}), tier="")
        for headers in (
            {"Authorization": f"Bearer {secret}"},
            {"X-API-Key": secret},
            {"authorization": f"bearer {secret}"},
        ):
            assert (await api.http.get("/v1/jobs", headers=headers)).status_code == 200
        assert keys.revoke(key.id)
        assert not keys.revoke(key.id)
        assert keys.list() == ()
    assert code(await api.http.get("/v1/jobs", headers={"X-API-Key": secret})) == (401, "unauthorized")


async def test_only_a_hash_of_a_key_is_stored_and_none_is_logged(
    api: Bench, redis_url: str, redis_server: Redis, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    key = bearer(redis_url)
    secret = key["Authorization"].removeprefix("Bearer ")
    assert (await submit(api, key)).status_code == 202
    stored = [
        (name, redis_server.hgetall(name)) for name in redis_server.scan_iter("*") if redis_server.type(name) == "hash"
    ]
    assert stored
    assert secret not in json.dumps(stored)
    assert secret[4:] not in "".join(capfd.readouterr())
    assert secret[4:] not in (tmp_path / "audit.jsonl").read_text()


async def test_scopes_say_what_a_key_is_good_for(api: Bench, redis_url: str) -> None:
    reads, submits = bearer(redis_url, "acme", Scope.READ), bearer(redis_url, "acme", Scope.SUBMIT)
    admin = bearer(redis_url, "acme", Scope.ADMIN)
    assert code(await submit(api, reads)) == (403, "forbidden")
    assert api.leftovers() == []
    job = (await submit(api, submits)).json()["id"]
    assert code(await api.http.get(f"/v1/jobs/{job}", headers=submits)) == (403, "forbidden")
    assert (await api.http.get(f"/v1/jobs/{job}", headers=reads)).status_code == 200
    assert code(await api.http.delete(f"/v1/jobs/{job}", headers=reads)) == (403, "forbidden")
    assert code(await api.http.get("/admin/dead", headers=reads)) == (403, "forbidden")
    assert (await submit(api, admin)).status_code == 202
    assert (await api.http.delete(f"/v1/jobs/{job}", headers=admin)).status_code == 204


async def test_what_crosses_tenants_is_for_operators_and_nothing_of_a_tenant_is(api: Bench, redis_url: str) -> None:
    admin, operator = bearer(redis_url, "acme", Scope.ADMIN), bearer(redis_url, "ops", Scope.OPERATOR)
    letter = f"/admin/dead/{'0' * 32}"
    for method, path in (("GET", "/admin/dead"), ("GET", letter), ("POST", f"{letter}/retry"), ("DELETE", letter)):
        assert code(await api.http.request(method, path, headers=admin)) == (403, "forbidden"), (method, path)
        assert (await api.http.request(method, path, headers=operator)).status_code != 403, (method, path)
    for method, path in (("GET", "/v1/jobs"), ("POST", "/v1/jobs"), ("DELETE", f"/v1/jobs/{'0' * 32}")):
        assert code(await api.http.request(method, path, headers=operator)) == (403, "forbidden"), (method, path)


async def test_jobs_of_another_tenant_do_not_exist(api: Bench, redis_url: str) -> None:
    ours, theirs = bearer(redis_url, "acme"), bearer(redis_url, "umbrella")
    job = (await submit(api, ours)).json()["id"]
    unknown = (await api.http.get(f"/v1/jobs/{'0' * 32}", headers=theirs)).json()
    for method, path in (
        ("GET", f"/v1/jobs/{job}"),
        ("GET", f"/v1/jobs/{job}?wait=1"),
        ("GET", f"/v1/jobs/{job}/result"),
        ("GET", f"/v1/jobs/{job}/events"),
        ("POST", f"/v1/jobs/{job}/cancel"),
        ("DELETE", f"/v1/jobs/{job}"),
        ("GET", f"/status/{job}"),
        ("GET", f"/result/{job}"),
        ("GET", f"/api/v1/status/{job}"),
        ("POST", f"/api/v1/jobs/{job}/cancel"),
        ("DELETE", f"/api/v1/jobs/{job}"),
    ):
        answer = await api.http.request(method, path, headers=theirs)
        assert answer.status_code == 404, (method, path)
    assert (await api.http.get("/api/v1/jobs", headers=theirs)).json()["jobs"] == []
    refused = (await api.http.get(f"/v1/jobs/{job}", headers=theirs)).json()
    assert {**refused, "request_id": ""} == {**unknown, "request_id": "", "detail": f"no job {job!r}"}
    assert (await api.http.get("/v1/jobs", headers=theirs)).json()["jobs"] == []
    assert [one["id"] for one in (await api.http.get("/v1/jobs", headers=ours)).json()["jobs"]] == [job]
    assert (await api.http.get(f"/v1/jobs/{job}", headers=ours)).status_code == 200


async def test_the_audit_log_says_who_did_what(api: Bench, redis_url: str, tmp_path: Path) -> None:
    ours, theirs = bearer(redis_url, "acme"), bearer(redis_url, "umbrella")
    job = (await submit(api, ours)).json()["id"]
    api.jobs.finish(job)
    await api.http.get(f"/v1/jobs/{job}/result", headers=ours)
    await api.http.get(f"/v1/jobs/{job}", headers=ours)
    await api.http.get("/v1/jobs", headers=ours)
    await api.http.patch(f"/v1/jobs/{job}/speakers", json={"A": "in-confidence"}, headers=theirs)
    await api.http.post(f"/v1/jobs/{job}/cancel", headers=theirs)
    await api.http.delete(f"/v1/jobs/{job}", headers=theirs)
    await api.http.delete(f"/v1/jobs/{job}", headers=ours)
    await api.http.delete(f"/v1/jobs/{job}")
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [(line["action"], line["outcome"], line["tenant"]) for line in lines] == [
        ("submit", "new", "acme"),
        ("read", "ok", "acme"),
        ("look", "ok", "acme"),
        ("list", "ok", "acme"),
        ("look", "job_not_found", "umbrella"),
        ("cancel", "job_not_found", "umbrella"),
        ("delete", "job_not_found", "umbrella"),
        ("delete", "ok", "acme"),
        ("refused", "unauthorized", "default"),
    ]
    assert {line["job"] for line in lines[:8]} == {job, None}
    assert "in-confidence" not in json.dumps(lines)
    assert {line["address"] for line in lines} == {"10.0.0.7"}
    assert all(line["request_id"] and line["at"].endswith("+00:00") for line in lines)
    assert lines[0]["key"]
    assert lines[8]["key"] is None
    assert (tmp_path / "audit.jsonl").stat().st_mode & 0o007 == 0  # it says who did what


async def test_what_an_operator_does_with_dead_letters_stands_in_the_audit_log(
    api: Bench, redis_url: str, tmp_path: Path
) -> None:
    operator = bearer(redis_url, "ops", Scope.OPERATOR)
    for name in ("aa", "bb"):
        failure = Failure(code="worker_lost", message="it died", retryable=True)
        api.jobs.letters[name] = DeadLetter(
            computation=name, died_at=1.0, failure=failure, attempts=3, model="demo", decoding=Decoding(),
            audio_sha256="a" * 64, filename="a.wav", duration_s=1.0, jobs=(),
        )  # fmt: skip
    for method, path in (("GET", ""), ("GET", "/aa"), ("POST", "/aa/retry"), ("DELETE", "/bb")):
        assert (await api.http.request(method, f"/admin/dead{path}", headers=operator)).is_success, path
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [(line["action"], line.get("computation")) for line in lines] == [
        ("list dead letters", None),
        ("look at dead letter", "aa"),
        ("look at dead letter", "aa"),
        ("retry", "aa"),
        ("drop", "bb"),
    ]
    assert {line["tenant"] for line in lines} == {"ops"}


async def test_a_stream_that_reads_a_job_many_times_is_one_line(api: Bench, redis_url: str, tmp_path: Path) -> None:
    key = bearer(redis_url, "acme")
    job = api.jobs.jobs[(await submit(api, key)).json()["id"]]
    api.jobs.finish(job.id)
    for _ in range(2):
        await api.http.get(f"/v1/jobs/{job.id}/result", headers=key)
        await api.app.state.platform.jobs.transcript(job)
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert [line["action"] for line in lines] == ["submit", "read", "read"]
    assert len({line["request_id"] for line in lines}) == 3


def test_whoever_listens_to_a_job_stands_in_the_audit_log(redis_url: str, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    ours, theirs = bearer(redis_url, "acme"), bearer(redis_url, "umbrella")
    with live_api(settings_for(redis_url, tmp_path / "data", audit_log=str(log))) as http:
        job = http.post("/v1/jobs", files={"file": ("a.wav", WAV)}, headers=ours).json()["id"]
        http.post(f"/v1/jobs/{job}/cancel", headers=ours)
        assert "event: error" in http.get(f"/v1/jobs/{job}/events", headers=ours).text
        assert http.get(f"/v1/jobs/{job}/webhooks", headers=ours).status_code == 200
        for method, path in (("GET", "events"), ("GET", "webhooks"), ("POST", "webhooks/replay")):
            assert http.request(method, f"/v1/jobs/{job}/{path}", headers=theirs).status_code == 404
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {line["job"] for line in lines} == {job}
    assert [(line["action"], line["tenant"], line["outcome"]) for line in lines] == [
        ("submit", "acme", "new"),
        ("cancel", "acme", "ok"),
        ("follow", "acme", "ok"),
        ("look", "acme", "ok"),
        ("look", "umbrella", "job_not_found"),
        ("look", "umbrella", "job_not_found"),
        ("replay webhook", "umbrella", "job_not_found"),
    ]


@pytest.mark.parametrize("share", [True, False])
def test_tenants_share_computations_only_where_they_may(
    redis_url: str, redis_server: Redis, tmp_path: Path, share: bool
) -> None:
    settings = settings_for(redis_url, tmp_path, share_results=share)
    ours, theirs = bearer(redis_url, "acme"), bearer(redis_url, "umbrella")
    with live_api(settings) as http:
        for key in (ours, ours, theirs):
            assert http.post("/v1/jobs", files={"file": ("a.wav", WAV)}, headers=key).status_code == 202
    assert redis_server.hmget("murmur:stats", "new", "joined") == (["1", "2"] if share else ["2", "1"])


def test_the_command_line_makes_lists_and_revokes_keys(
    redis_url: str, redis_server: Redis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MURMUR_LEDGER__URL", redis_url)
    monkeypatch.setenv("MURMUR_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    run = CliRunner().invoke
    made = run(cli, ["keys", "create", "Ada's laptop", "--tenant", "acme", "--scope", "read", "--tier", "premium"])
    secret = made.stdout.strip()
    assert secret.startswith("mur_")
    assert len(secret) == 47
    listed = run(cli, ["keys", "list"]).stdout
    assert all(word in listed for word in ("Ada's laptop", "acme", "read", "premium"))
    assert secret not in listed
    key_id = next(iter(redis_server.hkeys("murmur:keys")))
    assert run(cli, ["keys", "revoke", key_id]).exit_code == 0
    assert key_id not in run(cli, ["keys", "list"]).stdout
    assert redis_server.keys("murmur:key*") == []
    told = json.loads(run(cli, ["keys", "create", "a program", "--json"]).stdout)
    (kept,) = json.loads(run(cli, ["keys", "list", "--json"]).stdout)
    assert told == kept | {"secret": told["secret"]}
    assert (kept["scopes"], kept["expired"]) == (["read", "submit"], False)
    assert json.loads(run(cli, ["keys", "revoke", kept["id"], "--json"]).stdout) == {"id": kept["id"], "revoked": True}
    for wrong in (
        ["create", "x", "--tenant", "a b"],
        ["create", "x", "--tier", "gold"],
        ["create", "\n"],
        ["revoke", "no"],
    ):
        assert run(cli, ["keys", *wrong]).exception is not None


def test_the_strict_profile_is_a_set_of_defaults_that_settings_override(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MURMUR_PROFILE", "strict")
    monkeypatch.setenv("MURMUR_SECURITY__DOCS", "open")
    security = Settings().security
    assert security.require_keys
    assert not security.share_results
    assert (security.metrics, security.stats, security.admin, security.docs) == ("key", "key", "key", "open")
    monkeypatch.setenv("MURMUR_PROFILE", "open")
    assert not Settings().security.require_keys


async def test_health_tells_nobody_without_a_key_what_exactly_waits(redis_url: str, tmp_path: Path) -> None:
    tight = Limits(min_free_disk_bytes=1 << 60, max_memory_percent=100)
    for require_keys, queued, figures in ((True, 3600.0, False), (False, 12.3, True)):
        settings = settings_for(redis_url, tmp_path, require_keys=require_keys)
        async with secured(settings.model_copy(update={"limits": tight})) as api:
            api.jobs.pending_audio_s = 12.34
            for path in ("/health", "/health/ready"):
                told = (await api.http.get(path)).json()
                assert told.get("queued_audio_s", queued) == queued
                assert told["refusal"]["code"] == "disk_full"
                assert ("MiB" in told["refusal"]["message"]) is figures
