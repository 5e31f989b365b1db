"""What is sent for a job is made once, and never for another state of it."""

from dataclasses import replace

import httpx
import pytest

from api.jobs.answers import JobAnswers
from tests import audio_files
from tests.api_client import Bench
from transcription.ledger.jobs.made_jobs import MadeJobs

pytestmark = pytest.mark.anyio


async def _a_job(api: Bench) -> str:
    job: str = (await api.submit(audio_files.wav())).json()["id"]
    return job


async def test_a_job_that_stays_the_same_is_written_once_and_a_changed_one_anew(api: Bench) -> None:
    job_id = await _a_job(api)
    answers, job = JobAnswers(), api.jobs.jobs[job_id]
    first = answers.of(job, root="")
    assert answers.of(job, root="") is first
    assert answers.of(job, root="/behind").body != first.body
    api.jobs.finish(job_id)
    assert answers.of(api.jobs.jobs[job_id], root="").tag != first.tag


async def test_only_so_many_answers_are_kept(api: Bench) -> None:
    job = api.jobs.jobs[await _a_job(api)]
    answers = JobAnswers(most=2)
    jobs = [replace(job, id=name) for name in "abc"]
    written = [answers.of(one, root="") for one in jobs]
    assert answers.of(jobs[2], root="") is written[2]
    assert answers.of(jobs[0], root="") is not written[0]


async def test_a_job_is_made_anew_when_the_ledger_says_something_else(api: Bench) -> None:
    job = api.jobs.jobs[await _a_job(api)]
    made = MadeJobs(most=2)
    made.put(["row"], job)
    assert made.get(job.id, ["row"]) is job
    assert made.get(job.id, ["another"]) is None
    assert made.get(job.id, ["row"]) is None, "what was wrong once is forgotten"


async def test_plain_look_up_and_the_frameworks_own_route_answer_alike(api: Bench) -> None:
    job_id = await _a_job(api)
    for state in ("waiting", "ended"):
        direct = await api.http.get(f"/v1/jobs/{job_id}")
        routed = await api.http.get(f"/v1/jobs/{job_id}?x=1")
        tag = direct.headers["etag"]
        for headers in ({}, {"if-none-match": tag}, {"if-none-match": f'W/{tag}, "b"'}, {"if-none-match": "*"}):
            one = await api.http.get(f"/v1/jobs/{job_id}", headers=headers)
            other = await api.http.get(f"/v1/jobs/{job_id}?x=1", headers=headers)
            assert (one.status_code, one.content) == (other.status_code, other.content), (state, headers)
            assert _comparable(one.headers) == _comparable(other.headers), (state, headers)
        head = await api.http.head(f"/v1/jobs/{job_id}")
        assert (head.content, head.headers["content-length"]) == (b"", str(len(direct.content)))
        assert routed.json() == direct.json()
        api.jobs.finish(job_id)


async def test_plain_look_up_of_no_job_is_the_same_problem_as_by_the_route(api: Bench) -> None:
    nobody = "0" * 32
    direct, routed = await api.http.get(f"/v1/jobs/{nobody}"), await api.http.get(f"/v1/jobs/{nobody}?x=1")
    assert direct.status_code == routed.status_code == 404
    problems = [{**answer.json(), "request_id": ""} for answer in (direct, routed)]
    assert problems[0] == problems[1]
    api.jobs.down = True
    assert (await api.http.get(f"/v1/jobs/{nobody}")).status_code == 503


async def test_direct_answers_are_counted_under_their_routes(api: Bench) -> None:
    await api.http.get(f"/v1/jobs/{await _a_job(api)}")
    await api.http.get("/health/live")
    text = (await api.http.get("/metrics")).text
    for route in ("/v1/jobs/{job_id}", "/health/live"):
        assert f'murmur_http_requests_total{{method="GET",route="{route}",status="200"}} 1.0' in text


def _comparable(headers: httpx.Headers) -> dict[str, str]:
    return {name: value for name, value in dict(headers).items() if name not in ("x-request-id", "date")}
