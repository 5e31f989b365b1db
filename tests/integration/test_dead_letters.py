"""Dead letters as an operator meets them: over the admin routes and on the command line, with a real ledger."""

import sys
import time
from datetime import datetime

import httpx
import pytest
from redis import Redis

from murmur.cli.main import main
from tests import audio_files
from tests.ledger_worker import LedgerWorker
from tests.platform import eventually
from transcription.errors import EngineFailed, Fault
from transcription.job import Failure
from transcription.settings import Settings


def died(api: httpx.Client, worker: LedgerWorker, **options: str) -> dict[str, str]:
    """A job that has failed, and its dead letter's name."""
    answer = api.post("/v1/jobs", files={"file": ("talk.wav", audio_files.wav(2.0))}, data=options)
    assert answer.status_code == 202
    worker.fail()
    job: dict[str, str] = api.get(f"/v1/jobs/{answer.json()['id']}").json()
    assert job["status"] == "failed"
    return job


def test_dead_letter_says_what_happened_to_which_jobs(api: httpx.Client, worker: LedgerWorker) -> None:
    job = died(api, worker, language="de")
    (letter,) = api.get("/admin/dead").json()["dead_letters"]
    assert letter["jobs"] == [job["id"]]
    assert letter["error"] == {"code": "engine_failed", "message": "boom", "retryable": True}
    assert (letter["audio"]["filename"], letter["options"]["language"]) == ("talk.wav", "de")
    assert letter["advice"] == EngineFailed.advice
    assert api.get(f"/admin/dead/{letter['computation']}").json() == letter


def test_dead_letter_outlives_its_jobs_own_retention_and_goes_with_its_own(
    api: httpx.Client, worker: LedgerWorker, settings: Settings, redis_server: Redis
) -> None:
    job = died(api, worker, ttl_s="60")
    kept_s = settings.retention.dead_letter_ttl_s
    ends = datetime.fromisoformat(job["expires_at"]) - datetime.fromisoformat(job["completed_at"])
    assert abs(ends.total_seconds() - kept_s) < 60
    due = float(redis_server.zscore("murmur:expiry", job["id"]) or 0)
    assert abs(due / 1000 - time.time() - kept_s) < 60
    (letter,) = api.get("/admin/dead").json()["dead_letters"]
    assert api.delete(f"/admin/dead/{letter['computation']}").status_code == 204
    due = float(redis_server.zscore("murmur:expiry", job["id"]) or 0)
    assert due / 1000 - time.time() < 61


@pytest.mark.parametrize(("fault", "dead"), [(Fault.INPUT, False), (Fault.ENGINE, True), (Fault.PLATFORM, True)])
def test_what_fails_by_no_fault_of_the_input_becomes_a_dead_letter(
    api: httpx.Client, worker: LedgerWorker, fault: Fault, dead: bool
) -> None:
    answer = api.post("/v1/jobs", files={"file": ("talk.wav", audio_files.wav(2.0))})
    failure = Failure(code="blob_missing", message="gone", fault=fault)
    worker.spans.fail(worker.claim(), failure, retry_in_s=None)
    assert api.get(f"/v1/jobs/{answer.json()['id']}").json()["status"] == "failed"
    assert bool(api.get("/admin/dead").json()["dead_letters"]) is dead


def test_retried_dead_letter_is_queued_with_its_options_and_a_hint(
    api: httpx.Client, worker: LedgerWorker, redis_server: Redis
) -> None:
    job = died(api, worker, language="de", temperature="0.5", response_format="srt")
    eventually(lambda: redis_server.llen("murmur.demo.language=de") == 1)
    redis_server.delete("murmur.demo.language=de")
    (letter,) = api.get("/admin/dead").json()["dead_letters"]
    assert api.post(f"/admin/dead/{letter['computation']}/retry").status_code == 204
    eventually(lambda: redis_server.llen("murmur.demo.language=de") == 1)
    again = api.get(f"/v1/jobs/{job['id']}").json()
    assert (again["status"], again["options"], again["error"]) == ("queued", job["options"], None)
    assert api.get("/admin/dead").json() == {"dead_letters": []}
    worker.work()
    assert api.get(f"/v1/jobs/{job['id']}/result").text.startswith("1\n00:00:00,000")


def test_dropped_dead_letter_is_gone_and_its_job_stays_failed(api: httpx.Client, worker: LedgerWorker) -> None:
    job = died(api, worker)
    (letter,) = api.get("/admin/dead").json()["dead_letters"]
    assert api.delete(f"/admin/dead/{letter['computation']}").status_code == 204
    assert api.get(f"/v1/jobs/{job['id']}").json()["status"] == "failed"
    for method, path in (("GET", ""), ("POST", "/retry"), ("DELETE", "")):
        refused = api.request(method, f"/admin/dead/{letter['computation']}{path}")
        assert (refused.status_code, refused.json()["code"]) == (404, "dead_letter_not_found")


@pytest.mark.parametrize("name", ["nobody", "a:b", "x" * 200, "ä"])
def test_name_of_no_dead_letter_is_unknown(api: httpx.Client, name: str) -> None:
    refused = api.get(f"/admin/dead/{name}")
    assert (refused.status_code, refused.json()["code"]) == (404, "dead_letter_not_found")


def test_operator_lists_shows_retries_and_drops_on_the_command_line(
    api: httpx.Client, worker: LedgerWorker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def murmur(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["murmur", "dead", *arguments, "--url", str(api.base_url)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        # The API runs in this process, and its log too.
        own = [line for line in out.splitlines(keepends=True) if "[info" not in line and line.strip()]
        return int(ended.value.code or 0), "".join(own), err

    job = died(api, worker)
    _, listed, _ = murmur("list")
    name = listed.split()[0]
    status, shown, said = murmur("show", name)
    assert (status, said) == (0, "")
    assert "boom (engine_failed)" in shown
    assert job["id"] in shown
    assert murmur("retry", name) == (0, "", "")
    assert api.get(f"/v1/jobs/{job['id']}").json()["status"] == "queued"
    status, _, said = murmur("drop", name)
    assert status == 1
    assert "no dead letter" in said
    worker.fail()
    assert murmur("drop", name) == (0, "", "")
    assert api.get(f"/v1/jobs/{job['id']}").json()["status"] == "failed"  # a retry empties the list too
    assert murmur("list") == (0, "", "")
