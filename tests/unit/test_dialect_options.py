"""What the dialects' clients ask for in their own words reaches the job; who a marketplace's users are."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from pydantic import SecretStr
from starlette.requests import Request

from api.auth.quotas import SubmissionQuotas
from api.auth.rate_limits import RateLimits
from api.dialects import mlx_mvp
from api.dialects.openai.stream import languages
from tests import audio_files
from tests.api_client import Bench, bench
from transcription.access import Principal
from transcription.errors import Unauthorized
from transcription.job import Job, Status
from transcription.options import Options, Task
from transcription.settings import Api, Retention, Security, Settings
from transcription.transcript import Segment, Transcript

pytestmark = pytest.mark.anyio

WAV = audio_files.wav(0.2)


async def answered(api: Bench, path: str, **request: Any) -> tuple[httpx.Response, Job]:
    """The answer of a synchronous route whose job is done at once, and the job."""
    api.jobs.accepted.clear()
    answer = asyncio.create_task(api.http.post(path, files={"file": ("talk.wav", WAV)}, **request))
    accepted = asyncio.create_task(api.jobs.accepted.wait())
    await asyncio.wait({answer, accepted}, timeout=30, return_when=asyncio.FIRST_COMPLETED)
    accepted.cancel()
    assert not answer.done() or answer.result().is_success, answer.result().text
    job = list(api.jobs.jobs.values())[-1]
    if not job.status.terminal:
        api.jobs.finish(job.id)
    return await answer, job


async def test_azure_s_deployment_names_the_model_unless_the_form_does(api: Bench) -> None:
    path = "/openai/deployments/whisper-1/audio/transcriptions?api-version=2024-06-01"
    assert (await answered(api, path))[1].options.model == "whisper-1"
    assert (await answered(api, path, data={"model": "demo"}))[1].options.model == "demo"


async def test_a_translation_is_one(api: Bench) -> None:
    assert (await answered(api, "/v1/audio/translations"))[1].options.task is Task.TRANSLATE
    assert (await answered(api, "/v1/audio/transcriptions"))[1].options.task is Task.TRANSCRIBE


async def test_what_a_translation_is_written_in_is_english(api: Bench) -> None:
    form = {"response_format": "verbose_json", "language": "de"}
    answer, job = await answered(api, "/v1/audio/translations", data=form)
    assert answer.json()["language"] == "english"
    assert (await api.jobs.transcript(job)).language == "de"
    assert (await answered(api, "/v1/audio/transcriptions", data=form))[0].json()["language"] == "german"


async def test_the_plain_answer_names_the_language_by_its_code(api: Bench) -> None:
    assert (await answered(api, "/v1/audio/transcriptions"))[0].json()["languages"] == [{"code": "en"}]
    assert languages(None) == []


async def test_keywords_are_hotwords_and_what_has_no_effect_is_told(api: Bench) -> None:
    form = {"keywords": "Murmur", "hotwords": "Valkey", "top_p": "1", "seed": "7", "include[]": "logprobs"}
    answer, job = await answered(api, "/v1/audio/transcriptions", data=form)
    assert job.options.hotwords == "Murmur, Valkey"
    assert answer.headers["warning"] == '299 - "without effect here: include, seed, top_p"'
    assert answer.headers["murmur-job"] == job.id


async def test_a_key_of_the_client_s_own_in_a_field_without_effect_stays_out_of_the_header(api: Bench) -> None:
    form = {"metadata[имя]": "x", "metadata[a\r\nb]": "y", "timestamp_granularities[]": "segment"}
    answer, _ = await answered(api, "/v1/audio/transcriptions", data=form)
    assert (answer.status_code, answer.headers["warning"]) == (200, '299 - "without effect here: metadata"')


class NotOnTheLoop(tuple[Segment, ...]):
    """Segments that may not be gone through in a thread that runs an event loop: hours of them would hold it up."""

    def __iter__(self) -> Iterator[Segment]:
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        return super().__iter__()


@pytest.mark.parametrize(
    ("path", "form", "later"),
    [
        ("/v1/audio/transcriptions", {"response_format": "verbose_json"}, ""),
        ("/v1/audio/transcriptions", {"response_format": "diarized_json"}, ""),
        ("/api/v1/transcribe", {"response_format": "json"}, ""),
        ("/api/v1/transcribe", {"response_format": "srt"}, ""),
        ("/api/v1/transcribe", {}, "/api/v1/status/"),
        ("/api/v1/transcribe", {}, "/result/"),
    ],
)
async def test_a_long_transcript_is_written_off_the_event_loop(
    api: Bench, monkeypatch: pytest.MonkeyPatch, path: str, form: dict[str, str], later: str
) -> None:
    kept = api.jobs.transcript

    async def transcript(job: Job) -> Transcript:
        whole = await kept(job)
        return replace(whole, segments=NotOnTheLoop(whole.segments))

    monkeypatch.setattr(api.jobs, "transcript", transcript)
    answer, job = await answered(api, path, data=form)
    if later:
        answer = await api.http.get(later + job.id)
    assert answer.status_code == 200
    assert "Hello" in answer.text


async def test_who_asks_for_words_alone_gets_no_segments(api: Bench) -> None:
    form = {"response_format": "verbose_json", "timestamp_granularities[]": "word"}
    words = (await answered(api, "/v1/audio/transcriptions", data=form))[0].json()
    assert [word["word"] for word in words["words"]] == ["Hello", "there,", "you <all>."]
    assert "segments" not in words
    both = form | {"timestamp_granularities[]": ["word", "segment"]}
    assert len((await answered(api, "/v1/audio/transcriptions", data=both))[0].json()["segments"]) == 2


async def test_a_microservice_s_granularity_is_an_option_and_a_wrong_one_is_refused(api: Bench) -> None:
    _, job = await answered(api, "/api/v1/transcribe", data={"timestamp_granularity": "word"})
    assert job.options.timestamp_granularities == ("word",)
    refused = await api.http.post(
        "/api/v1/transcribe", files={"file": ("a.wav", WAV)}, data={"timestamp_granularity": "syllable"}
    )
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_option")


async def test_a_microservice_s_jobs_are_listed_by_state_and_page_by_page(api: Bench) -> None:
    made = []
    for seconds in (0.2, 0.3, 0.4):
        answer = await api.http.post("/api/v1/transcribe-async", files={"file": ("a.wav", audio_files.wav(seconds))})
        made.append(answer.json()["job_id"])
    api.jobs.finish(made[0], status=Status.CANCELED)
    api.jobs.finish(made[1])
    completed = (await api.http.get("/api/v1/jobs?status=completed")).json()
    assert [job["job_id"] for job in completed["jobs"]] == [made[1]]
    seen: list[str] = []
    cursor = ""
    for _ in range(3):
        page = (
            await api.http.get("/api/v1/jobs", params={"limit": 1, **({"cursor": cursor} if cursor else {})})
        ).json()
        seen += [job["job_id"] for job in page["jobs"]]
        cursor = page["cursor"] or ""
    assert seen == made[::-1]


async def test_whisper_serve_s_latency_is_the_request_s_own(api: Bench) -> None:
    answer = asyncio.create_task(api.http.post("/transcribe", files={"audio_file": ("a.wav", WAV)}))
    await asyncio.wait_for(api.jobs.accepted.wait(), 10)
    for job_id in list(api.jobs.jobs):
        api.jobs.finish(job_id)
    assert 0 < (await answer).json()["latency"] < 60


async def test_what_goes_on_has_no_transcript_yet_in_production_scale(api: Bench) -> None:
    job_id = (await api.http.post("/transcribe", files={"file": ("a.wav", WAV)})).json()["job_id"]
    early = await api.http.get(f"/result/{job_id}")
    assert (early.status_code, early.json()["code"]) == (409, "result_not_ready")
    assert early.json()["job_status"] == "queued"
    assert "MAX_SYNC_S" not in early.json()["detail"]  # nothing waited
    api.jobs.finish(job_id)
    assert (await api.http.get(f"/result/{job_id}")).json()["text"] == "Hello there, you <all>."


TIERS = Security.model_validate({"default_tier": "free", "tiers": {"free": {}, "pro": {}, "mine": {}}})
MARKET = Principal(tenant="market", key_id="k1", tier="mine")


def customer(secret: str | None = "hush", caller: Principal = MARKET, **headers: str) -> tuple[Principal, Request]:
    """Who pays for a request with these headers, and the request."""
    api = Api(rapidapi_secret=None if secret is None else SecretStr(secret))
    sent = [(f"x-rapidapi-{name.replace('_', '-')}".encode(), value.encode()) for name, value in headers.items()]
    request = Request({"type": "http", "headers": sent, "state": {"client": caller}})
    return mlx_mvp._customer(request, Settings(api=api, security=TIERS), caller), request


def test_only_who_knows_the_secret_is_the_marketplace() -> None:
    for proof in ({}, {"proxy_secret": "guessed"}, {"proxy_secret": ""}):
        with pytest.raises(Unauthorized):
            customer(user="ann", **proof)
    assert customer(proxy_secret="hush")[0] == MARKET  # without a user it pays itself
    assert customer(proxy_secret="hush", user="a/../b")[0] == MARKET
    assert customer(secret=None, user="ann")[0] == MARKET


def test_a_marketplace_s_user_is_a_tenant_that_nobody_else_can_be_with_the_limits_of_his_subscription() -> None:
    ann, request = customer(proxy_secret="hush", user="ann", subscription="PRO")
    assert (ann.tenant, ann.key_id, ann.tier) == ("rapidapi:ann", "rapidapi:ann", "pro")
    assert request.state.client == ann
    made_up, _ = customer(proxy_secret="hush", user="ann", subscription="unlimited")
    assert made_up.tier == "mine"


@pytest.fixture
async def fleeting(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path, api=Api(sync_ttl_s=600)) as running:
        yield running


@pytest.mark.parametrize("path", ["/v1/transcribe", "/v1/audio/transcriptions", "/api/v1/transcribe"])
async def test_a_transcript_that_was_answered_is_kept_no_longer_than_the_setting_says(
    fleeting: Bench, path: str
) -> None:
    assert (await answered(fleeting, path))[1].options.ttl_s == 600


@pytest.mark.parametrize(
    ("asked", "usual", "tier", "platform", "kept"),
    [
        (None, None, "", 86_400, None),
        (None, 3600, "", 86_400, 3600),
        (None, 3600, "", 600, None),
        (None, 3600, "brief", 86_400, 900),
        (None, None, "brief", 86_400, 900),
        (None, None, "brief", 600, None),
        (None, 3600, "shortest", 86_400, 60),
        (800, 3600, "brief", 600, 800),
        (7200, 3600, "", 600, 7200),
    ],
)
def test_a_client_that_does_not_say_has_its_result_no_longer_than_the_platform_and_its_tier_keep_results(
    asked: int | None, usual: int | None, tier: str, platform: int, kept: int | None
) -> None:
    tiers = {"brief": {"max_ttl_s": 900}, "shortest": {"max_ttl_s": 5}}
    settings = Settings(security=Security.model_validate({"tiers": tiers}), retention=Retention(result_ttl_s=platform))
    quotas = SubmissionQuotas(settings, rates=cast("RateLimits", None), quotas=None)
    client = Principal(tenant="acme", tier=tier)
    assert quotas.with_retention(client, Options(ttl_s=asked), usual).ttl_s == kept
