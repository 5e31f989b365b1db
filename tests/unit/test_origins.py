"""Pages of other origins, and names that suddenly lead to this machine, may not use an API on the loopback address."""

from pathlib import Path

import httpx
import pytest
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.middleware.origins import TrustedHosts, trusted_hosts
from tests import audio_files
from tests.api_client import Bench, bench
from transcription.settings import Api

pytestmark = pytest.mark.anyio
WAV = {"file": ("a.wav", audio_files.wav(0.2))}
ASKED_FIRST = ("PUT", "PATCH", "DELETE")
"""Methods for which a browser asks before it sends anything."""

FOR_BROWSERS = ("access-control-", "content-security-", "cross-origin-", "referrer-", "x-content-", "x-frame-")
HOSTS = ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil", "10.0.0.1", ""]


@pytest.mark.parametrize("host", HOSTS)
async def test_a_name_that_was_rebound_to_the_loopback_address_reads_and_deletes_nothing(api: Bench, host: str) -> None:
    job = (await api.http.post("/v1/jobs", files=WAV)).json()["id"]
    for method, path in (
        ("GET", "/v1/jobs"),
        ("GET", f"/v1/jobs/{job}"),
        ("DELETE", f"/v1/jobs/{job}"),
        ("GET", "/"),
        ("GET", "/health/live"),
    ):
        assert (await api.http.request(method, path, headers={"Host": host})).status_code == 400, (method, path)
    assert job in api.jobs.jobs


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST"])
async def test_the_loopback_goes_by_its_own_names(api: Bench, host: str) -> None:
    assert (await api.http.get("/v1/jobs", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:3000", "", "http://[", "file://"])
async def test_a_page_of_another_origin_changes_nothing(api: Bench, origin: str) -> None:
    job = (await api.http.post("/v1/jobs", files=WAV)).json()["id"]
    for method, path in (("POST", "/v1/jobs"), ("DELETE", f"/v1/jobs/{job}"), ("POST", f"/v1/jobs/{job}/cancel")):
        answer = await api.http.request(method, path, headers={"Origin": origin})
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), (method, path)
        assert "key" not in answer.json()["title"].lower()
    assert job in api.jobs.jobs
    assert len(api.jobs.submissions) == 1


async def test_a_page_of_a_named_origin_may_use_every_route_and_read_every_header_that_is_ours(tmp_path: Path) -> None:
    mine = "https://mine.example"
    ordinary = {"content-type", "content-length", "date", "vary", "cache-control"}
    async with bench(tmp_path, api=Api(cors_origins=(mine,))) as api:
        methods = {way.upper() for path in api.app.openapi()["paths"].values() for way in path} & set(ASKED_FIRST)
        assert methods >= {"PATCH", "DELETE"}
        for method in methods:
            asked = {"Origin": mine, "Access-Control-Request-Method": method}
            answer = await api.http.options("/v1/jobs/abc", headers=asked)
            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, mine), method
        first = await api.http.post("/v1/jobs", files=WAV, headers={"Origin": mine, "Idempotency-Key": "one"})
        again = await api.http.post("/v1/jobs", files=WAV, headers={"Origin": mine, "Idempotency-Key": "one"})
        api.jobs.finish(first.json()["id"])
        result = await api.http.get(f"{first.json()['urls']['self']}/result?format=text", headers={"Origin": mine})
        for answer in (first, again, result):
            readable = set(answer.headers["access-control-expose-headers"].lower().replace(" ", "").split(","))
            others = {name for name in answer.headers if not name.startswith(FOR_BROWSERS)}
            assert others - readable == others & ordinary
            assert {"retry-after", "x-request-id"} <= readable


@pytest.mark.parametrize("origin", ["http://localhost", "https://localhost"])
async def test_the_api_s_own_page_may_do_everything(api: Bench, origin: str) -> None:
    assert (await api.http.post("/v1/jobs", files=WAV, headers={"Origin": origin})).status_code == 202


async def test_whoever_listens_on_a_network_trusts_any_name_until_names_are_set() -> None:
    assert trusted_hosts(Api(host="0.0.0.0")) == ("*",)
    assert trusted_hosts(Api(host="0.0.0.0", trusted_hosts=("a.example",))) == ("a.example",)
    assert "*" not in trusted_hosts(Api(host="127.0.0.2"))
    assert trusted_hosts(Api(trusted_hosts=("*",))) == ("*",)


async def test_what_health_checks_and_prometheus_ask_by_address_has_an_answer_where_names_are_set(
    tmp_path: Path,
) -> None:
    async with bench(tmp_path, api=Api(trusted_hosts=("asr.example",))) as api:
        for host in ("127.0.0.1:8000", "10.1.2.3:8000", "api:8000"):
            for path in ("/health/live", "/metrics", "/metrics/ledger", "/metrics/targets"):
                assert (await api.http.get(path, headers={"Host": host})).status_code == 200, (host, path)
            for path in ("/v1/jobs", "/health", "/"):
                assert (await api.http.get(path, headers={"Host": host})).status_code == 400, (host, path)
        assert (await api.http.get("/v1/jobs", headers={"Host": "asr.example"})).status_code == 200


ODD = [
    "localhost:8000x",
    "localhost:",
    "localhost:80:80",
    "localhost,evil",
    "localhost.evil",
    "x@localhost",
    "*.a.example",
]


@pytest.mark.parametrize("host", [*HOSTS, *ODD, "localhost", "localhost:8000", "LOCALHOST", "b.a.example", "[::1]:1"])
async def test_quick_look_at_the_host_is_of_the_same_mind_as_the_thorough_one(host: str) -> None:
    names = ["localhost", "[::1]", "*.a.example"]

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        await Response("served")(scope, receive, send)

    answers = []
    for layer in (TrustedHosts, TrustedHostMiddleware):
        transport = httpx.ASGITransport(layer(served, names, www_redirect=False))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            answers.append((await http.get("/", headers={"host": host})).status_code)
    assert answers[0] == answers[1]
