"""Who speaks, over HTTP: what is refused, and when, against a ledger in memory."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from api.routes.speakers import MOST_BYTES
from tests import audio_files
from tests.api_client import Bench
from tests.memory_jobs import WORKER
from tests.platform import eventually_async
from transcription.options import MOST_SPEAKERS

pytestmark = pytest.mark.anyio


async def test_where_no_worker_can_tell_speakers_apart_the_question_is_refused(api: Bench) -> None:
    api.jobs.workers = (replace(WORKER, diarizer=""),)
    answer = await api.submit(audio_files.wav(), diarize="true")
    assert answer.json()["code"] == "model_not_served"
    assert "MURMUR_WORKER__DIARIZER" in answer.json()["detail"]
    assert (await api.submit(audio_files.wav())).status_code == 202


async def test_before_any_worker_has_come_the_question_is_to_be_asked_again(api: Bench) -> None:
    api.jobs.workers = ()
    answer = await api.submit(audio_files.wav(), diarize="true")
    assert answer.json()["code"] == "model_unavailable"
    assert answer.status_code >= 500


async def test_while_the_only_worker_is_being_restarted_speakers_can_still_be_asked_for(api: Bench) -> None:
    assert (await api.submit(audio_files.wav(), diarize="true")).status_code == 202
    api.jobs.workers = ()
    api.forget_backlog()
    assert (await api.submit(audio_files.wav(2), diarize="true")).status_code == 202


async def test_job_goes_to_what_most_workers_have(api: Bench) -> None:
    others = [replace(WORKER, id=f"w{n}", diarizer="other@2") for n in (2, 3)]
    api.jobs.workers = (WORKER, *others)
    assert (await api.submit(audio_files.wav(), diarize="true", max_speakers="4")).status_code == 202
    (submission,) = api.jobs.submissions
    assert submission.diarizer == "other@2"
    assert submission.options.diarization().max_speakers == 4
    await eventually_async(lambda: api.queue.hints == 2)  # one for the words, one for who speaks them


async def test_speakers_are_named_when_it_is_known_who_speaks(api: Bench) -> None:
    job = (await api.submit(audio_files.wav(), diarize="true")).json()
    url = f"/v1/jobs/{job['id']}/speakers"
    early = await api.http.patch(url, json={"A": "Anna"})
    assert (early.status_code, early.json()["code"]) == (409, "result_not_ready")
    api.jobs.finish(job["id"])
    before = await api.http.get(f"/v1/jobs/{job['id']}/result", params={"format": "text"})
    named = await api.http.patch(url, json={"A": "Anna"})
    assert (named.status_code, named.json()["speakers"]) == (200, {"A": "Anna"})
    held = {"If-None-Match": before.headers["etag"]}
    after = await api.http.get(f"/v1/jobs/{job['id']}/result", params={"format": "text"}, headers=held)
    assert (after.status_code, after.text) == (200, "Anna: Hello there,\nB: you <all>.\n")
    assert (await api.http.patch(url, json={"C": "Eve"})).json()["detail"].endswith("there are A, B")


async def test_speakers_of_an_unknown_job_are_nobodys(api: Bench) -> None:
    assert (await api.http.patch("/v1/jobs/none/speakers", json={"A": "Anna"})).status_code == 404


async def test_names_of_any_length_are_not_read_to_their_end(api: Bench) -> None:
    job = (await api.submit(audio_files.wav(), diarize="true")).json()
    api.jobs.finish(job["id"])
    url, kind = f"/v1/jobs/{job['id']}/speakers", {"content-type": "application/json"}
    fits = b'{"A": "Anna"}'.ljust(MOST_BYTES)
    assert (await api.http.patch(url, content=fits, headers=kind)).json()["speakers"] == {"A": "Anna"}
    sent = []

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            sent.append(fits)
            yield fits

    for declared in ({}, {"content-length": str(100 * MOST_BYTES)}):
        sent.clear()
        answer = await api.http.patch(url, content=endless(), headers=kind | declared)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert answer.headers["content-type"] == "application/problem+json"
        assert f"the limit is {MOST_BYTES}" in answer.json()["detail"]
        assert len(sent) <= 2


@pytest.mark.parametrize("body", [{"x" * 60_000: "Eve"}, {f"no label {n}": "Eve" for n in range(2500)}])
async def test_a_body_that_is_no_names_is_refused_in_few_words(api: Bench, body: dict[str, str]) -> None:
    answer = await api.http.patch("/v1/jobs/none/speakers", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_option")
    assert len(answer.content) < 4000


async def test_the_longest_names_fit_into_the_limit(api: Bench) -> None:
    job = (await api.submit(audio_files.wav(), diarize="true")).json()
    api.jobs.finish(job["id"])
    names = {f"{chr(65 + n // 26)}{chr(65 + n % 26)}Z": "\N{BIRD}" * 100 for n in range(MOST_SPEAKERS)}
    body = json.dumps(names)
    answer = await api.http.patch(
        f"/v1/jobs/{job['id']}/speakers", content=body, headers={"content-type": "application/json"}
    )
    assert answer.json()["detail"].startswith("speakers: nobody is called AAZ"), answer.text
