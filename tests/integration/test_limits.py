"""Rate limits, quotas and closed surfaces: who gets how much, and who sees what."""

import asyncio
import re
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import yaml
from pydantic import SecretStr
from redis import Redis
from redis.asyncio import BlockingConnectionPool

from api.auth import rate_limits
from api.auth.moving_window import MovingWindows, Window
from api.auth.rate_limits import AsyncLimiter, Limit, neighbourhood
from murmur.cli.local.check import check
from murmur.client.client import Client
from tests import audio_files
from tests.api_client import Bench
from tests.live_api import api_settings, live_api
from tests.secured_api import WAV, bearer, secured, settings_for
from transcription.access import Scope
from transcription.settings import Ledger, Settings

pytestmark = pytest.mark.anyio

TIERS = {
    "small": {"submits_per_hour": 2},
    "quick": {"requests_per_minute": 3},
    "one": {"concurrent_jobs": 1},
    "daily": {"audio_s_per_day": 7},
}


async def submit(api: Bench, key: dict[str, str], audio: bytes = WAV) -> httpx.Response:
    return await api.http.post("/v1/jobs", files={"file": ("a.wav", audio)}, headers=key)


async def test_submits_beyond_a_tier_are_refused_before_the_body_with_honest_headers(
    redis_url: str, tmp_path: Path
) -> None:
    async with secured(settings_for(redis_url, tmp_path, tiers=TIERS)) as api:
        key, other = bearer(redis_url, tier="small"), bearer(redis_url, tier="small")
        first, second, third = [await submit(api, key) for _ in range(3)]
        assert (first.status_code, second.status_code, third.status_code) == (202, 202, 429)
        assert first.headers["ratelimit-policy"] == '"submits";q=2;w=3600'
        assert re.fullmatch(r'"submits";r=1;t=\d+', first.headers["ratelimit"])
        assert third.json()["code"] == "rate_limited"
        assert re.fullmatch(r'"submits";r=0;t=\d+', third.headers["ratelimit"])
        assert 3500 < int(third.headers["retry-after"]) <= 3601
        assert len(api.jobs.jobs) == 2
        # Another key has its own count; reading isn't submitting.
        assert (await submit(api, other)).status_code == 202
        assert (await api.http.get("/v1/jobs", headers=key)).status_code == 200


async def test_requests_are_counted_for_each_key_and_each_address(redis_url: str, tmp_path: Path) -> None:
    settings = settings_for(redis_url, tmp_path, tiers=TIERS, address_requests_per_minute=5)
    async with secured(settings) as api:
        key, other = bearer(redis_url, tier="quick"), bearer(redis_url)
        answers = [(await api.http.get("/v1/jobs", headers=key)) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert answers[0].headers["ratelimit-policy"] == '"address";q=5;w=60, "requests";q=3;w=60'
        # A key without limits still comes from the same address; a wrong key counts too.
        assert (await api.http.get("/v1/jobs", headers={"X-API-Key": "mur_wrong"})).status_code == 401
        refused = await api.http.get("/v1/jobs", headers=other)
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert (await api.http.get("/health/live")).status_code == 200
    async with secured(settings, address=("10.0.0.8", 1)) as api:
        assert (await api.http.get("/v1/jobs", headers=other)).status_code == 200


async def test_addresses_of_one_ipv6_network_of_64_bits_are_counted_together(redis_url: str, tmp_path: Path) -> None:
    settings = settings_for(
        redis_url, tmp_path, require_keys=False, tiers=TIERS, default_tier="quick", address_requests_per_minute=5
    )
    for number, address in enumerate(("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", "2001:db8:1:2:a:b:c:d")):
        async with secured(settings, address=(address, 1)) as api:
            answer = await api.http.get("/v1/jobs")
            assert answer.status_code == 200
            assert answer.headers["ratelimit"].startswith(f'"address";r={4 - number}')
            assert f'"requests";r={2 - number}' in answer.headers["ratelimit"]
    async with secured(settings, address=("2001:db8:1:3::1", 1)) as api:
        assert (await api.http.get("/v1/jobs")).headers["ratelimit"].startswith('"address";r=4')
    # IPv4 in IPv6's clothes is IPv4.
    assert neighbourhood("::ffff:192.0.2.1") == "192.0.2.1"
    assert neighbourhood("192.0.2.1") == "192.0.2.1"
    assert neighbourhood("fe80::1%eth0") == "fe80::/64"
    assert neighbourhood("") == ""


async def test_all_limits_of_a_request_cost_one_call_of_redis(redis_url: str, tmp_path: Path) -> None:
    security = {"require_keys": False, "default_tier": "quick", "address_requests_per_minute": 100}
    with Redis.from_url(redis_url, decode_responses=True) as redis:
        slower = redis.config_get("slowlog-log-slower-than")
        async with secured(settings_for(redis_url, tmp_path, tiers=TIERS, **security)) as api:
            await api.http.get("/v1/jobs")  # its script is there
            try:
                redis.config_set("slowlog-log-slower-than", 0)  # it is then a list of all calls
                redis.slowlog_reset()
                answers = [await api.http.get("/v1/jobs") for _ in range(3)]
                calls = [str(call["command"]) for call in redis.slowlog_get(128)]
            finally:
                redis.config_set("slowlog-log-slower-than", slower["slowlog-log-slower-than"])
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert sum("EVALSHA" in call and "LIMITS" in call for call in calls) == 3
        assert re.fullmatch(r'"address";r=98;t=\d+, "requests";r=1;t=\d+', answers[0].headers["ratelimit"])
        assert re.fullmatch(r'"address";r=96;t=\d+, "requests";r=0;t=\d+', answers[2].headers["ratelimit"])


async def test_a_full_window_moves_on_request_by_request(redis_url: str) -> None:
    pool = BlockingConnectionPool.from_url(redis_url)
    windows, window = MovingWindows(pool), Window("LIMITS:moving", 2, 60)
    found = [(await windows.count([window], now=now))[0] for now in (1000.0, 1010.0, 1059.0, 1061.0, 1062.0, 1200.0)]
    assert [one.within for one in found] == [True, True, False, True, False, True]
    assert [one.left for one in found] == [1, 0, 0, 0, 0, 1]
    assert [one.ends_at for one in found] == [1060.0, 1060.0, 1060.0, 1070.0, 1070.0, 1260.0]
    # And nothing is kept that can't count any more.
    with Redis.from_url(redis_url) as redis:
        assert redis.llen(window.key) <= window.allowed
        assert 0 < redis.ttl(window.key) <= window.seconds
    await pool.disconnect()


async def test_only_a_trusted_proxy_may_say_who_asks(redis_url: str, tmp_path: Path) -> None:
    forwarded = {"X-Forwarded-For": "203.0.113.9"}
    security = {"require_keys": False, "address_requests_per_minute": 2, "metrics": "203.0.113.0/24"}
    for proxies, statuses in (("10.0.0.0/8", 200), ("192.168.0.0/16", 403)):
        async with secured(settings_for(redis_url, tmp_path, trusted_proxies=proxies, **security)) as api:
            assert (await api.http.get("/metrics", headers=forwarded)).status_code == statuses
    # Whoever makes up addresses stays one address, and a made-up first entry isn't believed either.
    async with secured(settings_for(redis_url, tmp_path, trusted_proxies="10.9.9.9", **security)) as api:
        answers = [await api.http.get("/v1/jobs", headers={"X-Forwarded-For": f"198.51.100.{n}"}) for n in range(4)]
        assert [answer.status_code for answer in answers].count(429) >= 2
    async with secured(settings_for(redis_url, tmp_path, trusted_proxies="10.0.0.0/8", **security)) as api:
        lied = {"X-Forwarded-For": "203.0.113.9, 198.51.100.77"}
        assert (await api.http.get("/metrics", headers=lied)).status_code == 403


async def test_limits_hold_in_memory_while_redis_is_away(tmp_path: Path) -> None:
    settings = settings_for("redis://127.0.0.1:1/0", tmp_path, require_keys=False, address_requests_per_minute=3)
    async with secured(settings) as api:
        answers = [await api.http.get("/v1/jobs") for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
        registry = api.app.state.platform.meters.registry
        assert registry.get_sample_value("murmur_rate_limit_fallbacks_total") == 5


async def test_redis_that_is_away_is_asked_once_a_second_and_counts_again_when_it_is_back(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limiter, clock = AsyncLimiter(redis_url), [100.0]
    limiter.add("address", "9/minute")
    item = limiter.item("address")
    assert item is not None
    limit, asked, counts = Limit("requests", "address", "address:x", item), [], limiter._shared.count

    async def away(*_: object, **__: object) -> None:
        asked.append(clock[0])
        raise OSError("no route")

    monkeypatch.setattr(rate_limits, "time", SimpleNamespace(monotonic=lambda: clock[0], time=time.time))
    monkeypatch.setattr(limiter._shared, "count", away)
    for clock[0] in (100.0, 100.5, 100.9, 101.1):
        assert (await limiter.hit([limit]))[1] is False
    assert asked == [100.0, 101.1]
    monkeypatch.setattr(limiter._shared, "count", counts)
    clock[0] = 102.2
    assert (await limiter.hit([limit]))[1] is True
    await limiter.close()


async def test_key_whose_tier_is_gone_has_the_limits_of_everybody(redis_url: str, tmp_path: Path) -> None:
    async with secured(settings_for(redis_url, tmp_path, tiers=TIERS, default_tier="quick")) as api:
        key = bearer(redis_url, tier="gone")
        answers = [await api.http.get("/v1/jobs", headers=key) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]


def test_jobs_at_once_are_counted_until_they_end(redis_url: str, tmp_path: Path) -> None:
    key = bearer(redis_url, tier="one")
    with live_api(settings_for(redis_url, tmp_path, tiers=TIERS)) as http:

        def hand_in(hertz: float) -> httpx.Response:
            return http.post("/v1/jobs", files={"file": ("a.wav", audio_files.wav(0.2, hertz=hertz))}, headers=key)

        job = hand_in(440).json()["id"]
        refused = hand_in(441)
        assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
        assert int(refused.headers["retry-after"]) > 0
        assert http.post(f"/v1/jobs/{job}/cancel", headers=key).status_code == 200
        assert hand_in(441).status_code == 202


def test_audio_of_a_day_is_counted_once_for_each_computation(redis_url: str, tmp_path: Path) -> None:
    key = bearer(redis_url, "acme", tier="daily")
    with live_api(settings_for(redis_url, tmp_path, tiers=TIERS)) as http:

        def hand_in(hertz: float) -> httpx.Response:
            return http.post("/v1/jobs", files={"file": ("a.wav", audio_files.wav(3, hertz=hertz))}, headers=key)

        assert [hand_in(440).status_code for _ in range(3)] == [202] * 3
        assert hand_in(441).status_code == 202
        refused = hand_in(442)
        assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
        assert "6 s of audio were taken today" in refused.json()["detail"]
        assert 0 < int(refused.headers["retry-after"]) <= 86_400


async def test_a_quota_holds_though_requests_come_together(redis_url: str, tmp_path: Path, redis_server: Redis) -> None:
    async with secured(settings_for(redis_url, tmp_path, tiers=TIERS)) as api:
        key = bearer(redis_url, "acme", tier="one")
        answers = await asyncio.gather(*(submit(api, key, audio_files.wav(0.2, hertz=400 + n)) for n in range(8)))
        assert sorted(answer.status_code for answer in answers) == [202] + [429] * 7
        assert redis_server.zcard("murmur:open:acme") == 1
        assert len(api.leftovers()) <= 8


@pytest.mark.parametrize(
    "path", ["/metrics", "/stats", "/health/async", "/admin/nothing", "/docs", "/redoc", "/openapi.json"]
)
async def test_each_surface_can_be_closed_or_kept_for_a_key_or_a_network(
    redis_url: str, tmp_path: Path, path: str
) -> None:
    name = {"/health/async": "stats", "/admin/nothing": "admin", "/redoc": "docs", "/openapi.json": "docs"}.get(
        path, path[1:]
    )
    operator, other = bearer(redis_url, "ops", Scope.OPERATOR), bearer(redis_url, "acme", Scope.ADMIN)

    async def statuses(rule: str) -> list[int]:
        async with secured(settings_for(redis_url, tmp_path, **{name: rule})) as api:
            return [(await api.http.get(path, headers=key)).status_code for key in ({}, other, operator)]

    shown = 404 if name == "admin" else 200
    assert await statuses("closed") == [403, 403, 403]
    assert await statuses("key") == [401, 403, shown]
    assert await statuses("open") == [shown] * 3
    assert await statuses("10.0.0.0/8") == [shown] * 3
    assert await statuses("192.168.0.0/16,fd00::/8") == [403, 403, 403]


async def test_prometheus_of_the_strict_stack_scrapes_without_a_key_and_nobody_else_does(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = yaml.safe_load((Path(__file__).parents[2] / "docker-compose.yml").read_text("utf-8"))
    for name in ("MURMUR_SECURITY__METRICS", "MURMUR_SECURITY__TRUSTED_PROXIES"):
        said = stack["services"]["api"]["environment"][name]
        monkeypatch.setenv(name, re.sub(r"^\$\{\w+:-(.*)\}$", r"\1", said))
    monkeypatch.setenv("MURMUR_PROFILE", "strict")
    settings = Settings(model="demo", data_dir=tmp_path, ledger=Ledger(url=SecretStr(redis_url)))
    for address, forwarded, status in (
        ("172.20.0.9", {}, 200),
        ("203.0.113.9", {}, 403),
        ("172.20.0.2", {"X-Forwarded-For": "203.0.113.9"}, 403),
    ):
        async with secured(settings, address=(address, 1)) as api:
            for path in ("/metrics", "/metrics/ledger"):
                assert (await api.http.get(path, headers=forwarded)).status_code == status, (address, path)


async def test_no_origin_may_read_answers_unless_it_is_named(redis_url: str, tmp_path: Path) -> None:
    async with secured(settings_for(redis_url, tmp_path, require_keys=False)) as api:
        answer = await api.http.get("/v1/languages", headers={"Origin": "https://evil.example"})
        assert not [name for name in answer.headers if name.startswith("access-control-")]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_a_full_disk_is_told_by_health_before_a_submit_meets_it(redis_url: str, tmp_path: Path) -> None:
    with live_api(api_settings(redis_url, tmp_path, min_free_disk_bytes=1 << 60)) as api:
        refused = api.post("/v1/jobs", files={"file": b"any"})
        assert (refused.status_code, refused.json()["code"]) == (503, "disk_full")
        health, ready = api.get("/health").json(), api.get("/health/ready")
        assert (health["status"], health["refusal"]["code"]) == ("degraded", "disk_full")
        assert (ready.status_code, ready.json()["refusal"]["code"]) == (503, "disk_full")
        with Client(str(api.base_url)) as client:
            found = {finding.part: finding.fit for finding in check(client)}
        assert found["submits"] is False
