"""Every route of the document and every kind of key: what each may, by rules that stand here once more."""

import re
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.api_client import Bench
from tests.fuzz.test_fuzz import InstantJobs
from tests.secured_api import WAV, bearer, key_store, secured, settings_for
from transcription.access import Scope
from transcription.webhook import DeliveryLog

pytestmark = pytest.mark.anyio

PUBLIC = {"/", "/health", "/health/live", "/health/ready"}
OPERATORS = ("/admin", "/metrics", "/stats", "/health/async")
ADMINS = "/v1/webhook-secrets"
CLOSED = ("/docs", "/redoc", "/openapi.json")
NOT_IN = {401, 403}
LEAST_REQUESTS = 600


@pytest.fixture
async def api(redis_url: str, tmp_path: Path) -> AsyncIterator[Bench]:
    closed = {"metrics": "key", "stats": "key", "admin": "key", "docs": "closed"}
    async with secured(settings_for(redis_url, tmp_path / "data", **closed), jobs=InstantJobs()) as running:
        yield running


def keys(redis_url: str) -> dict[str, dict[str, str]]:
    """A header for each kind of key."""
    every = {"nothing": {}, "made up": {"Authorization": "Bearer mur_" + "A" * 43}}
    for scope in Scope:
        every[scope.value] = bearer(redis_url, "acme", scope)
    with key_store(redis_url) as store:
        how = {"name": "x", "tenant": "acme", "scopes": frozenset({Scope.ADMIN}), "tier": ""}
        every["expired"] = {"X-API-Key": store.create(**how, expires_at=time.time() - 1)[1]}
        every["elsewhere"] = {"X-API-Key": store.create(**how, networks="192.0.2.0/24")[1]}
        gone, secret = store.create(**how)
        store.revoke(gone.id)
        every["revoked"] = {"X-API-Key": secret}
    return every


def expected(kind: str, method: str, path: str) -> set[int] | None:
    """What must be answered, one of these; None: anything but «no key» and «not for you»."""
    valid, reads = kind in set(Scope), method in {"GET", "HEAD"}
    if path in PUBLIC or kind == "elsewhere":
        return None if path in PUBLIC else {403}
    if path.startswith(CLOSED):
        return {403}
    if not valid:
        return {401}
    if path.startswith(OPERATORS):
        may = kind == "operator"
    elif path.startswith(ADMINS) and not reads:
        may = kind == "admin"
    else:
        may = kind in {"admin", "read" if reads else "submit"}
    return None if may else {403}


def routes(api: Bench, job: str) -> list[tuple[str, str]]:
    document = api.app.openapi()["paths"]
    found = [(method.upper(), re.sub(r"{\w+}", job, path)) for path, methods in document.items() for method in methods]
    found += [("HEAD", path) for method, path in found if method == "GET"]
    return sorted({*found, ("GET", "/openapi.json"), ("GET", "/docs"), ("GET", "/redoc")})


async def test_every_route_lets_in_whom_it_should_and_nobody_else(api: Bench, redis_url: str) -> None:
    asked = 0
    for kind, header in keys(redis_url).items():  # fine: counted below
        for method, path in routes(api, "0" * 32):  # fine: counted below
            answer = await api.http.request(method, path, headers=header)
            asked += 1
            wanted = expected(kind, method, path)
            if wanted is None:
                assert answer.status_code not in NOT_IN, (kind, method, path, answer.text[:200])
            else:
                assert answer.status_code in wanted, (kind, method, path, answer.text[:200])
            assert answer.status_code != 500, (kind, method, path)
    assert asked >= LEAST_REQUESTS


async def test_no_route_tells_or_changes_anything_of_another_tenant_s_job(api: Bench, redis_url: str) -> None:
    ours, theirs = bearer(redis_url, "acme", Scope.ADMIN), bearer(redis_url, "umbrella", Scope.ADMIN)
    form = {"prompt": "in-confidence"}
    made = await api.http.post("/v1/jobs", files={"file": ("our-name.wav", WAV)}, data=form, headers=ours)
    job = made.json()["id"]
    before = api.jobs.jobs[job]
    asked = 0
    for method, path in routes(api, job):
        if method != "POST" or job in path:
            body = {"json": {"A": "Anna"}} if method == "PATCH" else {}
            answer = await api.http.request(method, path, headers=theirs, **body)
            asked += 1
            assert "our-name" not in answer.text, (method, path)
            assert "in-confidence" not in answer.text, (method, path)
            if job in path and not path.startswith(OPERATORS):
                assert answer.status_code in {404, 405}, (method, path, answer.text[:200])
    assert asked > 40
    assert api.jobs.jobs[job] == before


class Outbox:
    """What was sent for jobs, of which nothing is known but who asks."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def log(self, _job_id: str, *, tenant: str) -> DeliveryLog:
        self.asked.append(f"log {tenant}")
        return DeliveryLog(url=None, messages=(), tries=())

    async def replay(self, _job_id: str, *, tenant: str) -> None:
        self.asked.append(f"replay {tenant}")


async def test_every_route_with_a_job_finds_the_caller_s_own(api: Bench, redis_url: str) -> None:
    ours, outbox = bearer(redis_url, "acme", Scope.ADMIN), Outbox()
    api.app.state.notifications = replace(api.app.state.notifications, outbox=outbox)
    deeds = [deed for deed in routes(api, "JOB") if re.search("(?<!models)/JOB", deed[1]) and "secret" not in deed[1]]
    deeds = [(method, path) for method, path in deeds if method != "HEAD" and not path.startswith(OPERATORS)]
    assert len(deeds) >= 13
    for method, path in deeds:
        made = await api.http.post("/v1/jobs", files={"file": ("a.wav", WAV)}, headers=ours)
        body = {"json": {"A": "Anna"}} if method == "PATCH" else {}
        where = path.replace("JOB", made.json()["id"])
        async with api.http.stream(method, where, headers=ours, **body) as answer:
            assert answer.status_code != 404, (method, path)
    assert set(outbox.asked) == {"log acme", "replay acme"}
    assert len((await api.http.get("/api/v1/jobs", headers=ours)).json()["jobs"]) == len(api.jobs.jobs) > 0


@pytest.mark.parametrize(
    "path",
    [
        "//v1/jobs", "/v1//jobs", "/v1/jobs/", "/v1/jobs//", "/V1/jobs", "/v1/jobs;x=/health", "/%76%31/jobs",
        "/health/../v1/jobs", "/health/..%2fv1/jobs", "/health%2f..%2f..%2fv1/jobs", "/static/../v1/jobs",
        "/web/..%2fv1%2fjobs", "/internal/../v1/jobs", "/v1/jobs?x=/health", "/v1/jobs#/health", "/./v1/jobs",
        "/v1/jobs%00", "/v1/jobs%20", "/health/v1/jobs", "/static/%2e%2e/%2e%2e/etc/passwd",
        "/web/%2e%2e/pyproject.toml", "/internal/blobs",
        "/admin//dead", "//admin/dead", "/Admin/dead", "/metrics/", "//metrics", "/stats/",
    ],
)  # fmt: skip
async def test_no_spelling_of_a_path_gets_past_the_gate(api: Bench, redis_url: str, path: str) -> None:
    made = await api.http.post("/v1/jobs", files={"file": ("a.wav", WAV)}, headers=bearer(redis_url))
    job = made.json()["id"]
    for method in ("GET", "POST", "DELETE", "OPTIONS", "PUT"):
        answer = await api.http.request(method, f"http://localhost{path}")
        assert answer.status_code in {401, 403, 404, 405}, (method, answer.status_code, answer.text[:200])
        assert job not in answer.text
        assert "murmuration-asr" not in answer.text
