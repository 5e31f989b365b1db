"""What clients are told: validators that match behind a proxy, states by their own names, waits that end honestly."""

import asyncio
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from api.dialects import waiting
from tests import audio_files
from tests.api_client import Bench, bench
from transcription.job import Failure, Job, Progress, QueuePosition, Status

pytestmark = pytest.mark.anyio
WAV = audio_files.wav(0.2)
SYNC = [("/v1/audio/transcriptions", "file"), ("/v1/transcribe", "file"), ("/api/v1/transcribe", "file")]


async def job_of(api: Bench, **options: str) -> str:
    answer = await api.submit(WAV, **options)
    job_id: str = answer.json()["id"]
    return job_id


@pytest.mark.parametrize("weakened", [False, True])
@pytest.mark.parametrize("path", ["", "/result"])
async def test_validator_matches_as_it_was_given_and_as_a_proxy_weakened_it(
    api: Bench, path: str, weakened: bool
) -> None:
    job_id = await job_of(api)
    api.jobs.finish(job_id)
    first = await api.http.get(f"/v1/jobs/{job_id}{path}")
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    sent = f'"other", W/{tag}' if weakened else f'{tag}, "other"'
    for value in (sent, "*"):
        again = await api.http.get(f"/v1/jobs/{job_id}{path}", headers={"If-None-Match": value})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
    changed = await api.http.get(f"/v1/jobs/{job_id}{path}", headers={"If-None-Match": '"other"'})
    assert changed.status_code == 200
    assert changed.content == first.content


async def test_validator_changes_with_the_job_and_with_the_format(api: Bench) -> None:
    job_id = await job_of(api)
    queued = await api.http.get(f"/v1/jobs/{job_id}")
    api.jobs.finish(job_id)
    done = await api.http.get(f"/v1/jobs/{job_id}", headers={"If-None-Match": queued.headers["etag"]})
    assert done.status_code == 200
    tags = {
        (await api.http.get(f"/v1/jobs/{job_id}/result", params={"format": kind})).headers["etag"]
        for kind in ("json", "verbose_json", "text", "srt", "vtt", "tsv")
    }
    assert len(tags) == 6


async def test_partial_result_is_never_kept_by_caches(api: Bench) -> None:
    job_id = await job_of(api)
    answer = await api.http.get(f"/v1/jobs/{job_id}/result", params={"partial": "true"})
    assert answer.status_code == 200
    assert answer.headers["murmur-complete"] == "false"
    assert "etag" not in answer.headers


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("pending", Status.QUEUED),
        ("processing", Status.PROCESSING),
        ("completed", Status.COMPLETED),
        ("failed", Status.FAILED),
    ],
)
async def test_states_have_one_word_in_answers_and_filters(api: Bench, word: str, status: Status) -> None:
    ids = {}
    for number, one in enumerate((Status.QUEUED, Status.PROCESSING, Status.COMPLETED, Status.FAILED)):
        answer = await api.submit(audio_files.wav(0.2, hertz=400 + number))
        ids[one] = answer.json()["id"]
        if one is not Status.QUEUED:
            api.jobs.finish(ids[one], status=one)
    page = (await api.http.get("/api/v1/jobs", params={"status": word})).json()
    assert [job["job_id"] for job in page["jobs"]] == [ids[status]]
    shown = (await api.http.get(f"/api/v1/status/{ids[status]}")).json()
    assert shown["status"] == word
    native = (await api.http.get("/v1/jobs", params={"status": status.value})).json()
    assert [job["id"] for job in native["jobs"]] == [ids[status]]


@pytest.mark.parametrize(("path", "field"), SYNC)
@pytest.mark.parametrize(
    ("status", "answered", "code"), [(Status.CANCELED, 409, "canceled"), (Status.EXPIRED, 410, "kept")]
)
async def test_synchronous_request_whose_job_was_taken_away_says_so(  # noqa: PLR0917 - a table
    api: Bench, path: str, field: str, status: Status, answered: int, code: str
) -> None:
    asked = asyncio.create_task(api.http.post(path, files={field: ("talk.wav", WAV)}))
    await asyncio.wait_for(api.jobs.accepted.wait(), 20)
    (job,) = api.jobs.jobs.values()
    api.jobs.finish(job.id, status=status)
    answer = await asked
    assert answer.status_code == answered
    assert code in answer.text


@pytest.mark.parametrize(("path", "field"), SYNC)
async def test_synchronous_request_that_takes_too_long_is_told_that_its_job_goes_on(
    tmp_path: Path, path: str, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "CLIENT_CHECK_S", 0.01)
    async with bench(tmp_path) as api:
        short = api.settings.api.model_copy(update={"max_sync_s": 0.05})
        platform = api.app.state.platform
        monkeypatch.setattr(platform, "settings", api.settings.model_copy(update={"api": short}), raising=False) if (
            not type(platform).__dataclass_params__.frozen
        ) else object.__setattr__(platform, "settings", api.settings.model_copy(update={"api": short}))
        answer = await api.http.post(path, files={field: ("talk.wav", WAV)})
        assert answer.status_code == 409
        assert "MURMUR_API__MAX_SYNC_S" in answer.text
        (job,) = api.jobs.jobs.values()
        assert not job.status.terminal


async def test_progress_is_told_as_it_is_and_whole_only_at_the_end(api: Bench) -> None:
    job_id = await job_of(api)
    for done, percent in ((0.0, 0), (5.0, 50), (9.99, 99), (10.0, 99), (12.0, 99)):
        api.jobs.finish(
            job_id,
            status=Status.PROCESSING,
            progress=Progress(audio_seconds_done=done, audio_seconds_total=10.0),
            completed_at=None,
            expires_at=None,
        )
        shown = (await api.http.get(f"/api/v1/status/{job_id}")).json()
        assert shown["progress"] == percent
        native = (await api.http.get(f"/v1/jobs/{job_id}")).json()["progress"]
        assert native["fraction"] == min(1.0, done / 10)
        assert 0 <= native["fraction"] <= 1
    api.jobs.finish(job_id)
    assert (await api.http.get(f"/api/v1/status/{job_id}")).json()["progress"] == 100


async def test_failed_job_says_what_went_wrong_wherever_it_is_looked_up(api: Bench) -> None:
    job_id = await job_of(api)
    failure = Failure(code="corrupt_audio", message="no sound in it", retryable=False)
    api.jobs.finish(job_id, status=Status.FAILED, failure=failure)
    shown = (await api.http.get(f"/v1/jobs/{job_id}")).json()
    assert shown["error"] == {"code": "corrupt_audio", "message": "no sound in it", "retryable": False}
    answer = await api.http.get(f"/v1/jobs/{job_id}/result")
    assert (answer.status_code, answer.json()["code"], answer.json()["job_status"]) == (409, "job_failed", "failed")
    assert answer.json()["error"]["code"] == "corrupt_audio"


async def test_finished_job_tells_nobody_to_come_back_and_a_waiting_one_does(api: Bench) -> None:
    job_id = await job_of(api)
    waits = await api.http.get(f"/v1/jobs/{job_id}")
    assert 1 <= int(waits.headers["retry-after"]) <= 30
    result = await api.http.get(f"/v1/jobs/{job_id}/result")
    assert (result.status_code, result.json()["code"]) == (409, "result_not_ready")
    api.jobs.finish(job_id)
    assert "retry-after" not in (await api.http.get(f"/v1/jobs/{job_id}")).headers


async def test_only_new_work_is_hinted_to_the_workers(api: Bench) -> None:
    await api.submit(WAV)
    (job_id,) = api.jobs.jobs
    api.jobs.finish(job_id)
    cached = await api.submit(WAV)
    assert (cached.status_code, cached.json()["cached"]) == (200, True)
    for _ in range(100):
        await asyncio.sleep(0)
    assert api.queue.hints == 1


async def test_result_is_named_after_its_recording(api: Bench) -> None:
    answer = await api.submit(WAV, name="Überblick 1.wav")
    assert answer.status_code == 202, answer.text
    api.jobs.finish(answer.json()["id"])
    result: httpx.Response = await api.http.get(f"/v1/jobs/{answer.json()['id']}/result", params={"format": "srt"})
    assert result.headers["content-disposition"] == (
        "inline; filename=\"_berblick 1.srt\"; filename*=UTF-8''%C3%9Cberblick%201.srt"
    )


@pytest.mark.parametrize(("eta_s", "after_s"), [(None, 1), (0.2, 1), (3.2, 4), (7200.0, 30)])
async def test_client_is_told_to_come_back_near_its_turn_and_within_half_a_minute(
    api: Bench, eta_s: float | None, after_s: int
) -> None:
    job_id = await job_of(api)
    queue = QueuePosition(position=1, audio_seconds_ahead=1.0, eta_s=eta_s)
    api.jobs.jobs[job_id] = replace(api.jobs.jobs[job_id], queue=queue)
    for path in ("", "/result"):
        assert (await api.http.get(f"/v1/jobs/{job_id}{path}")).headers["retry-after"] == str(after_s)


async def test_no_client_holds_an_answer_for_longer_than_the_platform_allows(
    api: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_s: list[float] = []

    async def wait(job: Job, *, seconds: float) -> Job:
        held_s.append(seconds)
        return job

    monkeypatch.setattr(api.jobs, "wait", wait)
    answer = await api.http.post("/v1/jobs", files={"file": WAV}, headers={"Prefer": "wait=999"})
    assert answer.headers["preference-applied"] == "wait=60"
    await api.http.get(answer.headers["location"], params={"wait": "999"})
    assert held_s == [60.0, 60.0]
