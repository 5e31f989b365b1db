"""An engine that diarizes whole recordings, on its way through a worker and a real ledger: once, and resumed."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from demo import DIALOGUE
from tests import sound
from tests.integration.test_diarization_ledger import SPEAKERS, Platform
from transcription.computation import Claim, Timing
from transcription.errors import EngineFailed, LeaseLost, Stopped
from transcription.job import Status
from transcription.media.recording import Recording
from transcription.speakers import Diarized, Turn
from worker.diarizers.base import RecordingDiarizer
from worker.diarizers.clustering import Speakers as Asked
from worker.pipelines.diarization import DiarizationPipeline

FOUND = Diarized((Turn(0.0, 2.1, 0), Turn(2.1, 4.0, 1)), ((1.0, 0.0), (0.0, 1.0)), 0.5)


class Scripted:
    """Gives what it is told, and remembers what it was asked."""

    name = "scripted"

    def __init__(self) -> None:
        self.asked: list[tuple[float, Asked]] = []
        self.broken = False

    def diarize_recording(self, recording: Recording, speakers: Asked, *, check: Callable[[], None]) -> Diarized:
        check()
        self.asked.append((round(recording.duration_s, 1), speakers))
        if self.broken:
            raise EngineFailed("boom")
        return FOUND


class Worker:
    """One that has the recording decoded already."""

    def __init__(self, platform: Platform) -> None:
        self.platform, self.diarizer, self.hinted = platform, Scripted(), 0
        assert isinstance(self.diarizer, RecordingDiarizer)
        recording = sound.decoded(DIALOGUE.path, limit_s=100)
        sounds = SimpleNamespace(of=lambda held, scratch: (recording, None), forget=lambda claim: None)
        self.pipeline = DiarizationPipeline(
            spans=platform.spans,
            sounds=sounds,
            diarizer=SimpleNamespace(get=lambda: self.diarizer),
            settings=platform.settings,
            more=self._hint,
        )

    def _hint(self, claim: Claim) -> None:
        self.hinted += 1

    def work(self) -> Claim:
        claim = self.platform.claim(SPEAKERS)
        self.pipeline.run(SimpleNamespace(claim=claim, touch=lambda: None, check=lambda: None))
        return claim


@pytest.fixture
def worker(redis_url: str) -> Worker:
    return Worker(Platform(redis_url))


def test_whole_recording_is_one_span_and_its_speakers_are_written(worker: Worker) -> None:
    job, _ = worker.platform.submit("j1", min_speakers=2, max_speakers=4)
    worker.platform.transcribe()
    assert not worker.work().closing
    assert worker.hinted == 1
    assert worker.work().closing
    assert worker.platform.client.status(job) is Status.COMPLETED
    assert worker.platform.segments(job) == [("A", " Good morning."), ("B", " Hello.")]
    assert worker.diarizer.asked == [(21.1, Asked(2, 4))]


def test_what_was_found_is_not_computed_again_by_who_takes_over(worker: Worker) -> None:
    worker.platform.submit("j1")
    worker.platform.transcribe()
    worker.work()
    claim = worker.platform.claim(SPEAKERS)
    worker.platform.spans.release(claim)
    worker.work()
    assert len(worker.diarizer.asked) == 1


def test_what_was_written_before_a_worker_stopped_is_not_computed_again(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.platform.submit("j1")

    def stop(claim: Claim, timing: Timing, *, windows: int) -> bool:
        worker.platform.spans.release(claim)
        raise Stopped("the worker stops")

    with monkeypatch.context() as stopping:
        stopping.setattr(worker.platform.spans, "finish", stop)
        with pytest.raises(Stopped):
            worker.work()
    assert not worker.work().closing
    assert len(worker.diarizer.asked) == 1


def test_finding_that_a_server_forgot_is_computed_again_before_its_span_is_done(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, _ = worker.platform.submit("j1")
    worker.platform.transcribe()
    with monkeypatch.context() as forgetting:
        forgetting.setattr(worker.platform.spans, "append_voices", lambda *_, **__: None)  # confirmed, and lost
        with pytest.raises(LeaseLost):
            worker.work()
    assert not worker.work().closing
    assert worker.work().closing
    assert len(worker.diarizer.asked) == 2
    assert worker.platform.segments(job) == [("A", " Good morning."), ("B", " Hello.")]


def test_engine_that_fails_once_is_asked_again(worker: Worker) -> None:
    job, _ = worker.platform.submit("j1")
    worker.platform.transcribe()
    worker.diarizer.broken = True
    with pytest.raises(EngineFailed):
        worker.work()
    worker.platform.redis.zadd("murmur:leases", dict.fromkeys(worker.platform.redis.zrange("murmur:leases", 0, -1), 1))
    worker.platform.redis.hset("murmur:config", mapping={"grace": 0, "reaped": 1 << 52})
    assert worker.platform.spans.reap() == 1
    worker.diarizer.broken = False
    worker.work()
    worker.work()
    assert worker.platform.client.status(job) is Status.COMPLETED
