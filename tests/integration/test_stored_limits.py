"""What a tenant can keep in the ledger has a limit, and what was deleted counts no more."""

from pathlib import Path

import httpx
from redis import Redis

from tests import audio_files
from tests.live_api import live_api
from tests.platform import eventually
from tests.secured_api import bearer, settings_for
from transcription.access import Scope
from transcription.ledger.connections.clients import connect
from transcription.ledger.span_store import RedisSpans

EMOJI = "\N{GRINNING FACE}" * 4000
TIERS = {
    "few": {"stored_jobs": 3, "max_ttl_s": 3600},
    "small": {"stored_bytes": 200_000},
    "wide": {"stored_jobs": 0, "stored_bytes": 0, "max_ttl_s": 0},
}


def submit(http: httpx.Client, key: dict[str, str], number: int, **options: str) -> httpx.Response:
    audio = audio_files.wav(0.2, hertz=300 + number)
    return http.post("/v1/jobs", files={"file": ("a.wav", audio)}, data=options, headers=key)


def test_a_tenant_fills_the_ledger_only_to_its_tier_s_bytes_and_another_isn_t_touched(
    redis_url: str, redis_server: Redis, tmp_path: Path
) -> None:
    ours, theirs = bearer(redis_url, "acme", tier="small"), bearer(redis_url, "umbrella", tier="small")
    with live_api(settings_for(redis_url, tmp_path, tiers=TIERS)) as http:
        answers = [submit(http, ours, number, prompt=EMOJI) for number in range(20)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert refused[0].json()["code"] == "quota_exceeded"
        assert int(refused[0].headers["retry-after"]) > 0
        assert int(redis_server.hget("murmur:stored", "acme") or 0) <= 200_000
        assert submit(http, theirs, 0, prompt=EMOJI).status_code == 202


def test_jobs_have_a_limit_that_deleting_makes_room_in(redis_url: str, redis_server: Redis, tmp_path: Path) -> None:
    key = bearer(redis_url, "acme", Scope.ADMIN, tier="few")
    with live_api(settings_for(redis_url, tmp_path, tiers=TIERS)) as http:
        jobs = [submit(http, key, number).json()["id"] for number in range(3)]
        assert submit(http, key, 3).status_code == 429
        for job in jobs:
            assert http.delete(f"/v1/jobs/{job}", headers=key).status_code == 204
        assert redis_server.hgetall("murmur:stored") == {}
        assert submit(http, key, 3).status_code == 202


def test_what_has_expired_makes_room_at_once_though_its_id_is_known_for_a_week(
    redis_url: str, redis_server: Redis, tmp_path: Path
) -> None:
    key = bearer(redis_url, "acme", Scope.ADMIN, tier="few")
    settings = settings_for(redis_url, tmp_path, tiers=TIERS)
    with live_api(settings) as http, connect(settings.ledger) as client:
        jobs = [submit(http, key, number).json()["id"] for number in range(3)]
        assert submit(http, key, 3).status_code == 429
        for job in jobs:
            http.post(f"/v1/jobs/{job}/cancel", headers=key)
            redis_server.zadd("murmur:expiry", {job: 1})
        spans = RedisSpans(client, settings)
        eventually(lambda: spans.sweep() == 0 and redis_server.zcard("murmur:expired:acme") == 3)
        assert http.get(f"/v1/jobs/{jobs[0]}", headers=key).json()["status"] == "expired"
        assert submit(http, key, 3).status_code == 202


def test_who_has_no_tier_has_no_limit(redis_url: str, redis_server: Redis, tmp_path: Path) -> None:
    key = bearer(redis_url, "acme")
    with live_api(settings_for(redis_url, tmp_path, tiers=TIERS)) as http:
        assert submit(http, key, 0).status_code == 202
        redis_server.zadd("murmur:jobs:acme", {f"old{number}": number for number in range(100_000)})
        redis_server.hset("murmur:stored", "acme", 1 << 30)
        assert submit(http, key, 1).status_code == 202


def test_what_has_expired_and_gone_counts_no_more(redis_url: str, redis_server: Redis, tmp_path: Path) -> None:
    key = bearer(redis_url, "acme", Scope.ADMIN)
    settings = settings_for(redis_url, tmp_path)
    settings = settings.model_copy(update={"retention": settings.retention.model_copy(update={"tombstone_ttl_s": 1})})
    with live_api(settings) as http, connect(settings.ledger) as client:
        job = submit(http, key, 0, ttl_s="60").json()["id"]
        http.post(f"/v1/jobs/{job}/cancel", headers=key)
        redis_server.zadd("murmur:expiry", {job: 1})
        spans = RedisSpans(client, settings)

        def gone() -> bool:
            spans.sweep()
            return not redis_server.exists(f"murmur:job:{job}")

        assert redis_server.hget("murmur:stored", "acme")
        eventually(gone)
    assert redis_server.hgetall("murmur:stored") == {}


def test_a_result_is_kept_no_longer_than_the_tier_allows(redis_url: str, tmp_path: Path) -> None:
    key, free = bearer(redis_url, tier="few"), bearer(redis_url, tier="wide")
    with live_api(settings_for(redis_url, tmp_path, tiers=TIERS)) as http:
        refused = submit(http, key, 0, ttl_s="3601")
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_option")
        assert "3600 s" in refused.json()["detail"]
        assert submit(http, key, 0, ttl_s="3600").status_code == 202
        assert submit(http, free, 1, ttl_s=str(30 * 86_400)).status_code == 202
