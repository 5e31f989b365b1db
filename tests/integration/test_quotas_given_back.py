"""What a submit took from its tenant's quotas is given back where nothing is computed for it."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from redis import Redis

from api.auth.quotas import SubmissionQuotas
from tests import audio_files
from tests.api_client import Bench
from tests.ledger_steps import submission
from tests.secured_api import bearer, secured, settings_for
from transcription.access import Principal
from transcription.errors import LedgerUnavailable, OutcomeUnknown
from transcription.job import Status

pytestmark = pytest.mark.anyio
TIERS = {"both": {"concurrent_jobs": 10, "audio_s_per_day": 1000}}


def taken(redis: Redis) -> tuple[int, int]:
    """Jobs that count, and seconds of audio."""
    used = sum(int(redis.get(key) or 0) for key in redis.keys("murmur:used:acme:*"))
    return redis.zcard("murmur:open:acme"), round(used / 1000)


async def hand_in(api: Bench, key: dict[str, str], *, hertz: float = 440, **headers: str) -> int:
    audio = audio_files.wav(3, hertz=hertz)
    answer = await api.http.post("/v1/jobs", files={"file": ("a.wav", audio)}, headers={**key, **headers})
    return answer.status_code


async def test_new_work_costs_a_job_and_its_audio_and_nothing_else_does(
    redis_url: str, tmp_path: Path, redis_server: Redis
) -> None:
    key = bearer(redis_url, "acme", tier="both")
    async with secured(settings_for(redis_url, tmp_path, tiers=TIERS)) as api:
        assert await hand_in(api, key) == 202
        assert taken(redis_server) == (1, 3)
        # The same again, under a key that was used for it: the first answer is repeated.
        assert await hand_in(api, key, hertz=441, **{"Idempotency-Key": "k"}) == 202
        assert taken(redis_server) == (2, 6)
        assert await hand_in(api, key, hertz=441, **{"Idempotency-Key": "k"}) == 202
        assert taken(redis_server) == (2, 6)
        # Answered from the cache.
        api.jobs.finish(next(iter(api.jobs.jobs)), status=Status.COMPLETED)
        assert await hand_in(api, key) == 200
        assert taken(redis_server) == (2, 6)


async def test_submit_that_fails_costs_nothing(redis_url: str, tmp_path: Path, redis_server: Redis) -> None:
    key = bearer(redis_url, "acme", tier="both")
    async with secured(settings_for(redis_url, tmp_path, tiers=TIERS)) as api:
        # Another payload under a used key is refused.
        assert await hand_in(api, key, **{"Idempotency-Key": "k"}) == 202
        assert await hand_in(api, key, hertz=441, **{"Idempotency-Key": "k"}) == 422
        assert taken(redis_server) == (1, 3)
        # The ledger goes away between the look and the record.
        submit = api.jobs.submit

        async def away(*_: object) -> None:
            raise LedgerUnavailable("away", retry_after_s=1)

        api.jobs.submit = away  # type: ignore[assignment, method-assign]
        assert await hand_in(api, key, hertz=442) == 503
        assert taken(redis_server) == (1, 3)
        api.jobs.submit = submit  # type: ignore[method-assign]
        # What is no audio costs nothing either.
        answer = await api.http.post("/v1/jobs", files={"file": ("a.wav", b"no audio")}, headers=key)
        assert answer.status_code in (415, 422)
        assert taken(redis_server) == (1, 3)


@pytest.mark.parametrize("tier", ["one job", "three seconds"])
async def test_repeated_request_gets_its_job_though_the_quota_is_used_up(
    redis_url: str, tmp_path: Path, redis_server: Redis, tier: str
) -> None:
    tiers = {"one job": {"concurrent_jobs": 1}, "three seconds": {"audio_s_per_day": 3}}
    key = bearer(redis_url, "acme", tier=tier)
    async with secured(settings_for(redis_url, tmp_path, tiers=tiers)) as api:
        assert await hand_in(api, key, **{"Idempotency-Key": "k"}) == 202
        before = taken(redis_server)
        assert await hand_in(api, key, **{"Idempotency-Key": "k"}) == 202
        assert len(api.jobs.jobs) == 1
        assert taken(redis_server) == before
        # Another payload under the key is told so, and another key is no way round the quota.
        assert await hand_in(api, key, hertz=441, **{"Idempotency-Key": "k"}) == 422
        assert await hand_in(api, key, hertz=441, **{"Idempotency-Key": "another"}) == 429


class Book:
    """What was taken and given back, in seconds of audio."""

    def __init__(self) -> None:
        self.taken: list[float] = []
        self.restored: list[float] = []

    async def take(self, *_: object, audio_s: float, **__: object) -> None:
        self.taken.append(audio_s)

    async def restore(self, *_: object, audio_s: float, **__: object) -> None:
        self.restored.append(audio_s)


@pytest.mark.parametrize(
    ("error", "given_back"),
    [
        (OutcomeUnknown("no answer", job_id="j", retry_after_s=1), []),
        (LedgerUnavailable("away", retry_after_s=1), [2.5]),
    ],
)
async def test_recording_of_unknown_length_costs_what_its_bytes_say_and_is_paid_where_its_job_may_run(
    redis_url: str, tmp_path: Path, error: Exception, given_back: list[float]
) -> None:
    book, settings = Book(), settings_for(redis_url, tmp_path, tiers=TIERS, default_tier="both")
    quotas = SubmissionQuotas(settings, rates=cast("Any", None), quotas=cast("Any", book))
    wish = submission()
    wish = replace(wish, audio=replace(wish.audio, bytes=10_000, duration_s=0.0))
    charged = []

    async def failing() -> None:
        async with quotas.charged(Principal(tier="both"), wish) as charge:
            charged.append(charge.submission.charged_s)
            raise error

    with pytest.raises(type(error)):
        await failing()
    assert charged == [2.5]
    assert (book.taken, book.restored) == ([2.5], given_back)
