"""One step of a worker, with the real ledger and real audio: what is computed, and not again, and what is reported."""

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from structlog.testing import capture_logs

from demo import SAMPLES
from tests import audio_files, scripted_engine
from tests.ledger_client import LedgerClient
from tests.ledger_worker import LedgerWorker
from tests.live_api import live_api
from tests.platform import eventually
from tests.scripted_engine import Script
from transcription.errors import CorruptAudio, LedgerUnavailable
from transcription.job import Job, Status
from transcription.ledger.broker import PULL, celery_app
from transcription.ledger.connections.clients import connect
from transcription.ledger.span_store import RedisSpans
from transcription.media.codecs.decode import decode
from transcription.observability.memory import Memory
from transcription.settings import Lease, Limits, Security, Settings, Worker
from transcription.spans import Piece, Span
from worker import runtime as runtime_module
from worker.consumer.celery_internals import WorkerQueues
from worker.consumer.span_results import GivenUp, SpanFailed, SpanRefused, SpanResult
from worker.runtime import WorkerRuntime
from worker.tasks import register


@pytest.fixture
def span_s() -> float:
    """At this length the long sample has two spans of two windows; at 20 s it has four of one."""
    return 40.0


@pytest.fixture
def webhooks() -> bool:
    return True


@pytest.fixture
def drain_s() -> float:
    return 0.0


@pytest.fixture
def settings(redis_url: str, tmp_path: Path, span_s: float, webhooks: bool, drain_s: float) -> Settings:
    return Settings(
        model="demo",
        data_dir=tmp_path,
        ledger={"url": redis_url},
        lease=Lease(ttl_s=20, renew_s=0.3, max_attempts=2),
        limits=Limits(min_free_disk_bytes=0, max_memory_percent=100),
        security=Security(sandbox=False),
        worker=Worker(engine="tests.scripted_engine:load", span_s=span_s, slots=4, webhooks=webhooks, drain_s=drain_s),
    )


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    fresh = Script()
    monkeypatch.setattr(scripted_engine, "script", fresh)
    return fresh


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    found: list[int] = []

    def leave(status: int) -> None:
        found.append(status)
        if threading.current_thread() is threading.main_thread():
            raise SystemExit(status)

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(runtime_module, "EXIT_DELAY_S", 0)
    return found


@dataclass
class Site:
    """A worker, and what it works for."""

    worker: WorkerRuntime
    client: LedgerClient
    settings: Settings
    app: Celery

    def submit(self, audio: bytes, **options: Any) -> Job:
        """Hand a recording in over HTTP, as its bytes must be stored."""
        with live_api(self.settings) as api:
            answer = api.post("/v1/jobs", files={"file": ("a.wav", audio)}, data=options)
        assert answer.status_code == 202, answer.text
        return self.client.ask(lambda jobs: jobs.get(answer.json()["id"], tenant="default"))

    def step(self) -> SpanResult | None:
        taken = self.worker.take()
        try:
            return self.worker.work(taken.id) if taken else None
        except GivenUp:
            return None

    def steps(self) -> int:
        """Take steps until there is nothing to claim; how many spans were finished."""
        count = 0
        while self.step():
            count += 1
        return count

    def come_back(self) -> None:
        """Wait until a delayed span can be claimed again."""
        with connect(self.settings.ledger) as redis:
            spans = RedisSpans(redis, self.settings)
            eventually(spans.pending, within_s=20)


@pytest.fixture
def site(settings: Settings, script: Script, ended: list[int]) -> Iterator[Site]:
    with celery_app(settings) as app:
        worker = WorkerRuntime("w1", settings, app, WorkerQueues(None))
        worker.start()
        eventually(lambda: worker._leases.open)
        try:
            yield Site(worker, LedgerClient(settings), settings, app)
        finally:
            worker.stop(at_once=True)
            worker._decoder.close()
            for thread in threading.enumerate():
                if thread.name in ("leave", "exit", "leases", "maintenance", "webhook-dispatcher"):
                    thread.join(15)


SHORT = SAMPLES["short"].path.read_bytes()
LONG = SAMPLES["long"].path.read_bytes()


@pytest.mark.parametrize("webhooks", [True, False])
def test_a_worker_that_is_to_send_no_webhooks_takes_none(site: Site, webhooks: bool) -> None:
    assert site.worker._webhook_dispatcher.is_alive() is webhooks


def test_a_worker_without_memory_for_a_second_span_leaves_it_to_others(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.submit(SHORT)
    site.submit(LONG)
    monkeypatch.setattr(runtime_module, "memory", lambda: Memory(total=1 << 30, used=1 << 30))
    first = site.worker.take()
    assert first
    assert site.worker.take() is None
    site.worker.work(first.id)
    assert site.worker.take()


def test_recording_is_decoded_its_language_told_and_its_words_written(site: Site, script: Script) -> None:
    job = site.submit(SHORT)
    done = site.step()
    assert done
    assert str(done).startswith(f"{job.computation}/0 ")
    ended = site.client.get(job)
    assert (ended.status, ended.language) == (Status.COMPLETED, "fr")
    assert site.client.text(job) == " ".join(f"{start:.1f}" for start, _ in script.windows)
    assert (script.detections, set(script.languages)) == (1, {"fr"})
    assert ended.compute_s
    assert ended.compute_s > 0
    assert site.step() is None


def test_language_is_told_among_those_that_the_client_named(site: Site, script: Script) -> None:
    site.submit(SHORT, languages="de,fr")
    site.steps()
    assert script.asked_among == [("de", "fr")]


def test_speech_without_a_language_fails_the_job_and_is_never_taken_for_silence(site: Site, script: Script) -> None:
    script.detected = ""
    job = site.submit(SHORT)
    with pytest.raises(SpanFailed, match="no language"):
        site.step()
    site.come_back()
    with pytest.raises(SpanFailed):
        site.step()
    failed = site.client.get(job)
    assert failed.status is Status.FAILED
    assert failed.failure
    assert failed.failure.code == "engine_failed"


def test_span_that_was_cut_without_a_language_is_told_one_before_it_is_written(site: Site, script: Script) -> None:
    job = site.submit(SHORT)
    taken = site.worker.take()
    assert taken
    claim = site.worker._taken[taken.id][0].claim
    site.worker._spans.prepared(claim, [Piece(Span(0, 11), (Span(0.5, 10.5),))], language=None, probability=None)
    site.worker._spans.release(claim)
    with suppress(GivenUp):
        site.worker.work(taken.id)
    site.steps()
    assert site.client.status(job) is Status.COMPLETED
    assert site.client.text(job) == "0.5"
    assert script.languages == ["fr"]


def test_window_s_language_is_what_the_rest_begins_with_after_an_error(site: Site, script: Script) -> None:
    job = site.submit(LONG, multilingual="true")
    script.spoken = "de"

    def fail(number: int) -> None:
        if number == 1:
            script.before = lambda _: None
            raise RuntimeError("boom")

    script.before = fail
    with pytest.raises(SpanFailed, match="boom"):
        site.steps()
    assert script.languages == ["fr"]
    site.steps()
    site.come_back()
    site.steps()
    assert site.client.status(job) is Status.COMPLETED
    assert script.languages[-1] == "de"
    ended = site.client.get(job)
    found = site.client.ask(lambda jobs: jobs.transcript(ended))
    assert found.language == "de"  # most is said in it, though it was begun in another
    assert {segment.language for segment in found.segments} == {"de"}


@pytest.mark.parametrize("exchanged", [False, True])
def test_result_is_cached_unless_the_weights_in_memory_are_not_those_that_the_api_was_told_of(
    site: Site, script: Script, monkeypatch: pytest.MonkeyPatch, exchanged: bool
) -> None:
    job = site.submit(SHORT)
    if exchanged:
        monkeypatch.setattr(site.worker._models, "_disk_revision", lambda _: "other weights")
    site.step()
    assert site.client.status(job) is Status.COMPLETED
    with live_api(site.settings) as api:
        again = api.post("/v1/jobs", files={"file": ("a.wav", SHORT)})
    assert again.status_code == (202 if exchanged else 200)


def test_language_that_the_client_named_is_not_detected(site: Site, script: Script) -> None:
    job = site.submit(SHORT, language="de")
    site.step()
    assert (script.detections, script.languages) == (0, ["de"])
    assert site.client.get(job).language == "de"


@pytest.mark.parametrize(("audio", "expected"), [(SHORT, {True}), (LONG, {False})], ids=["short", "long"])
def test_only_a_recording_of_one_window_is_heard_in_its_own_length(
    site: Site, script: Script, audio: bytes, expected: set[bool]
) -> None:
    site.submit(audio, fast_short="true")
    assert site.steps()
    assert set(script.fast_short) == expected


def test_long_recording_is_cut_once_and_every_stretch_of_it_computed_once(site: Site, script: Script) -> None:
    job = site.submit(LONG)
    done: list[float] = []
    script.before = lambda number: done.append(site.client.get(job).progress.audio_seconds_done) if number else None
    assert site.step()
    # The second window begins where the first one has ended, and so far the job has come.
    assert done == [pytest.approx(script.windows[0][1], abs=1.0)]
    script.before = lambda _: None
    kept = list(site.settings.pcm_dir.iterdir())
    assert [path.stem for path in kept] == [job.computation]
    spans = 1 + site.steps()
    assert spans == 2
    assert site.client.status(job) is Status.COMPLETED
    assert script.windows == sorted(script.windows)
    assert len(set(script.windows)) == len(script.windows)
    assert script.detections == 1
    assert set(script.languages) == {"fr"}
    assert not list(site.settings.pcm_dir.iterdir())


@pytest.mark.parametrize("span_s", [20.0])
def test_worker_without_the_decoded_sound_decodes_once_more_and_keeps_it(site: Site, script: Script) -> None:
    job = site.submit(LONG)
    site.step()
    (kept,) = site.settings.pcm_dir.iterdir()
    whole = kept.read_bytes()
    kept.unlink()
    assert site.step()
    assert kept.read_bytes() == whole
    site.steps()
    assert site.client.status(job) is Status.COMPLETED
    assert len(set(script.windows)) == len(script.windows)


def test_what_was_written_before_an_error_is_not_computed_again(site: Site, script: Script) -> None:
    job = site.submit(LONG, language="en")

    def fail(number: int) -> None:
        if number == 1:
            script.before = lambda _: None
            raise RuntimeError("boom")

    script.before = fail
    with pytest.raises(SpanFailed, match="boom"):
        site.steps()
    written = len(script.windows)
    assert written >= 1
    assert site.client.get(job).attempts == 1
    site.steps()
    site.come_back()
    site.steps()
    assert site.client.status(job) is Status.COMPLETED
    assert len(set(script.windows)) == len(script.windows)
    assert site.client.get(job).attempts == 2
    assert site.client.get(job).progress.fraction == 1.0
    assert site.client.text(job) == " ".join(f"{start:.1f}" for start, _ in sorted(script.windows))


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


@pytest.mark.parametrize("span_s", [80.0])
def test_job_that_nobody_wants_any_more_is_left_in_the_middle_of_a_span(site: Site, script: Script) -> None:
    job = site.submit(LONG, language="en")

    def cancel(number: int) -> None:
        assert not script.cancelled()
        if number == 1:
            site.client.cancel(job)
            # The engine can ask, and what it has computed meanwhile is the last.
            eventually(script.cancelled)

    script.before = cancel
    assert site.steps() == 0
    assert len(script.windows) == 2
    assert site.client.status(job) is Status.CANCELED
    assert site.worker._leases.holding() == []
    assert site.client.backlog().running_spans == 0


def test_worker_without_memory_ends_at_once(site: Site, script: Script, ended: list[int]) -> None:
    def no_room(_: int) -> None:
        raise MemoryError

    script.before = no_room
    site.submit(SHORT)
    with suppress(SystemExit):
        site.step()
    assert ended == [runtime_module.EXIT_NO_MEMORY]


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


@pytest.mark.parametrize("span_s", [20.0])
def test_half_of_the_places_stay_free_for_recordings_that_nobody_works_on(site: Site, script: Script) -> None:
    site.submit(LONG, language="en")
    entered, gate = threading.Semaphore(0), threading.Event()

    def wait(number: int) -> None:
        if number == 0:
            entered.release()
            assert gate.wait(60)

    site.step()  # it is cut, and its first span done
    script.before = wait
    threads = [threading.Thread(target=site.step) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert entered.acquire(timeout=60)
    try:
        assert len(site.worker._leases.holding()) == 2
        # One span of the recording waits among the first where nobody is on it; the others wait for idle workers.
        assert site.step() is None
    finally:
        gate.set()
        for thread in threads:
            thread.join(60)


def test_what_a_worker_has_measured_of_itself_is_told(site: Site) -> None:
    site.submit(SHORT, language="en")
    site.step()
    (worker,) = eventually(lambda: [one for one in site.client.backlog().workers if one.rate])
    assert worker.rate
    assert worker.rate > 0
    assert worker.id == "w1"
    assert (worker.slots, worker.models) == (4, ("demo",))


def test_quiet_recording_is_made_louder_only_where_that_was_asked_for(site: Site, script: Script) -> None:
    quiet = audio_files.recording(0.05 * decode(SAMPLES["short"].path, limit_s=60))
    site.submit(quiet, language="en")
    site.step()
    plain, script.loudest = script.loudest, 0.0
    site.submit(quiet, language="en", normalize="true")
    site.step()
    assert plain < 0.06
    assert script.loudest > 2 * plain


def test_stopped_worker_claims_nothing_and_its_span_goes_on_elsewhere(
    site: Site, script: Script, settings: Settings, ended: list[int]
) -> None:
    job = site.submit(SHORT, language="en")

    def stop(_: int) -> None:
        site.worker.stop()
        eventually(lambda: all(held.over for held in site.worker._leases.holding()))

    script.before = stop
    assert site.step() is None
    assert site.step() is None
    with connect(settings.ledger) as redis:
        other = LedgerWorker(RedisSpans(redis, settings), "w2")
        again = other.claim()
        assert (again.computation, again.attempt, again.alone) == (job.computation, 1, False)
    eventually(lambda: ended == [0])


@pytest.mark.parametrize("drain_s", [60.0])
def test_stopped_worker_with_time_to_finish_claims_nothing_more_and_ends_when_its_span_is_done(
    site: Site, script: Script, ended: list[int]
) -> None:
    first, second = site.submit(SHORT, language="en"), site.submit(LONG, language="en")

    def stop(_: int) -> None:
        script.before = lambda _: None
        site.worker.stop()
        # The ledger hears of it at once, so that an autoscaler doesn't count on this worker.
        eventually(lambda: [one.draining for one in site.client.backlog().workers] == [True])
        assert site.worker.take() is None
        assert not ended

    script.before = stop
    assert site.step()
    assert site.client.get(first).status is Status.COMPLETED
    eventually(lambda: ended == [0])
    assert site.client.backlog().workers == ()
    assert site.client.get(second).status is Status.QUEUED


@pytest.mark.parametrize("drain_s", [60.0])
def test_worker_that_is_told_to_stop_twice_hands_its_span_back_at_once(
    site: Site, script: Script, ended: list[int]
) -> None:
    job = site.submit(SHORT, language="en")

    def stop(_: int) -> None:
        site.worker.stop()
        site.worker.stop()
        eventually(lambda: all(held.over for held in site.worker._leases.holding()))

    script.before = stop
    assert site.step() is None
    eventually(lambda: ended == [0])
    assert site.client.get(job).status is not Status.COMPLETED


@pytest.mark.parametrize("drain_s", [0.3])
def test_span_that_outlasts_the_time_to_finish_goes_back(site: Site, script: Script, ended: list[int]) -> None:
    site.submit(SHORT, language="en")

    def stop(_: int) -> None:
        site.worker.stop()
        eventually(lambda: all(held.over for held in site.worker._leases.holding()))

    script.before = stop
    assert site.step() is None
    eventually(lambda: ended == [0])
    assert site.client.backlog().pending_spans == 1
