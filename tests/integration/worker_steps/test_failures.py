"""What becomes of a step that fails: by its client's fault, by ours, without a ledger, without memory."""

import os
from contextlib import suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.live_api import live_api
from tests.scripted_engine import Script
from tests.worker_site import SHORT, Site
from transcription.errors import CorruptAudio, LedgerUnavailable
from transcription.job import Status
from transcription.ledger.broker import PULL, celery_app
from transcription.settings import Settings
from worker.consumer.span_results import GivenUp, SpanFailed, SpanRefused
from worker.span_runner import EXIT_NO_MEMORY
from worker.tasks import register


def test_error_that_stays_fails_the_job_after_its_attempts_and_becomes_a_dead_letter(
    site: Site, script: Script
) -> None:
    def fail(_: int) -> None:
        raise RuntimeError("boom")

    script.before = fail
    job = site.submit(SHORT)
    for attempt in (1, 2):
        if attempt > 1:
            site.come_back()
        with pytest.raises(SpanFailed):
            site.step()
    failed = site.client.get(job)
    assert failed.failure is not None
    assert (failed.status, failed.failure.code, failed.attempts) == (Status.FAILED, "engine_failed", 2)
    assert "boom" in failed.failure.message
    assert [letter.computation for letter in site.client.letters()] == [job.computation]


def test_file_that_is_damaged_fails_at_once_and_is_no_dead_letter(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise CorruptAudio("no sound in it")

    monkeypatch.setattr(site.worker._decoder, "decode", refuse)
    job = site.submit(SHORT)
    with pytest.raises(SpanRefused), capture_logs() as lines:
        site.step()
    (line,) = (line for line in lines if line["event"] == "failed")
    assert (line["log_level"], line["code"], line["error"]) == ("info", "corrupt_audio", "no sound in it")
    assert "exc_info" not in line
    failed = site.client.get(job)
    assert failed.failure is not None
    assert (failed.status, failed.failure.code, failed.failure.retryable) == (Status.FAILED, "corrupt_audio", False)
    assert site.client.letters() == ()


@pytest.mark.parametrize(
    ("outcome", "level", "shows_where"),
    [(SpanRefused("c/0: no sound in it"), "INFO", False), (SpanFailed("c/0: boom"), "ERROR", True)],
)
def test_celery_logs_a_client_s_fault_as_one_line_and_ours_with_its_traceback(
    settings: Settings, caplog: pytest.LogCaptureFixture, outcome: Exception, level: str, shows_where: bool
) -> None:
    class Runtime:
        def work(self, _: str) -> None:
            raise outcome

    app = celery_app(settings)
    register(app, Runtime)  # type: ignore[arg-type]
    with caplog.at_level("INFO"):
        app.tasks[PULL].apply(task_id="one")
    (record,) = (record for record in caplog.records if "raised" in record.getMessage())
    assert (record.levelname, bool(record.exc_info)) == (level, shows_where)
    assert str(outcome) in record.getMessage()
    app.close()


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (SpanFailed("c/0: boom", retry_in_s=2.0), "RETRY"),
        (SpanFailed("c/0: boom"), "FAILURE"),
        (GivenUp("c/0 was handed back", canceled=False), "IGNORED"),
    ],
)
def test_celery_tells_an_attempt_that_is_tried_again_from_the_last_one_and_from_what_was_given_up(
    settings: Settings, outcome: Exception, state: str
) -> None:
    class Runtime:
        def work(self, _: str) -> None:
            raise outcome

    with celery_app(settings) as app:
        register(app, Runtime)  # type: ignore[arg-type]
        assert app.tasks[PULL].apply(task_id="one").state == state


@pytest.mark.parametrize("left", ["noise", "half"])
def test_audio_that_was_damaged_is_called_so_whatever_the_decoder_makes_of_it(site: Site, left: str) -> None:
    job = site.submit(SHORT)
    path = site.settings.blob_dir / job.audio.sha256[:2] / job.audio.sha256
    path.write_bytes(os.urandom(len(SHORT)) if left == "noise" else SHORT[: len(SHORT) // 2])
    with pytest.raises(SpanFailed, match="isn't that audio"):
        site.step()
    assert site.client.status(job) is Status.PROCESSING
    assert not path.exists()
    again = site.client.get(job)
    with live_api(site.settings) as api:
        assert api.post("/v1/jobs", files={"file": ("a.wav", SHORT)}).json()["status"] in ("queued", "processing")
    site.come_back()
    site.step()
    assert site.client.status(again) is Status.COMPLETED


def test_worker_without_memory_ends_at_once(site: Site, script: Script, ended: list[int]) -> None:
    def no_room(_: int) -> None:
        raise MemoryError

    script.before = no_room
    site.submit(SHORT)
    with suppress(SystemExit):
        site.step()
    assert ended == [EXIT_NO_MEMORY]


def test_outage_while_claiming_costs_one_step_and_no_job(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    job = site.submit(SHORT)

    def away(*_: Any, **__: Any) -> None:
        raise LedgerUnavailable("away", retry_after_s=1)

    with monkeypatch.context() as patched:
        patched.setattr(site.worker._spans, "claim", away)
        assert site.step() is None
    assert site.step()
    assert site.client.status(job) is Status.COMPLETED


def test_outage_while_a_failure_is_reported_ends_the_step_as_a_failure(
    site: Site, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise RuntimeError("boom")

    def away(*_: Any, **__: Any) -> None:
        raise LedgerUnavailable("away", retry_after_s=1)

    script.before = fail
    site.submit(SHORT)
    monkeypatch.setattr(site.worker._spans, "fail", away)
    with pytest.raises(SpanFailed):
        site.step()
    assert site.worker._leases.holding() == []
