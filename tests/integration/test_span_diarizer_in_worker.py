"""A diarizer that hears a recording span by span, on its way through a worker and a real ledger."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np
import pytest

from tests import sound
from tests.integration.test_diarization_ledger import SPEAKERS, TURNS, Platform
from transcription.computation import Claim
from transcription.errors import LeaseLost, Stopped
from transcription.job import Status
from transcription.media.audio import RATE
from transcription.settings import Settings
from transcription.spans import Span
from transcription.speakers import Diarized
from worker.diarizers.base import Voices
from worker.diarizers.clustering import Speakers
from worker.pipelines import diarization
from worker.pipelines.diarization import DiarizationPipeline

SPEECH = [Span(at, at + 10.0) for at in (0.0, 40.0, 100.0, 140.0)]


class Scripted:
    """Hears a window in each group of stretches, never asks whether to stop, and remembers what it was given."""

    name = "scripted"

    def __init__(self) -> None:
        self.heard: list[tuple[float, ...]] = []
        self.told_apart: list[tuple[int, Speakers]] = []

    def hear(self, speech: Sequence[Span], sound: object, *, check: Callable[[], None]) -> Voices:
        self.heard.append(tuple(one.start for one in speech))
        return Voices((speech[0],), np.ones((1, 2), np.float32))

    def diarize(self, voices: Voices, speech: Sequence[Span], speakers: Speakers) -> Diarized:
        self.told_apart.append((len(voices.windows), speakers))
        return Diarized(TURNS)


class Worker:
    """One that decodes at once, and notes what becomes of the sound."""

    def __init__(self, platform: Platform, *, span_s: float) -> None:
        self.platform, self.diarizer, self.noted = platform, Scripted(), []
        recording = sound.recording(np.zeros(200 * RATE, np.float32))
        draft = SimpleNamespace(keep=lambda _: self.noted.append("kept"))
        sounds = SimpleNamespace(
            of=lambda held, scratch: (recording, draft),
            load=lambda held, scratch: recording,
            forget=lambda claim: self.noted.append("forgotten"),
        )
        self.pipeline = DiarizationPipeline(
            spans=platform.spans,
            sounds=sounds,
            diarizer=SimpleNamespace(get=lambda: self.diarizer),
            settings=Settings(ledger=platform.settings.ledger, worker={"span_s": span_s}),
            more=lambda _: self.noted.append("more"),
        )

    def work(self, check: Callable[[], None] = lambda: None) -> Claim:
        self.claim = self.platform.claim(SPEAKERS)
        self.pipeline.run(SimpleNamespace(claim=self.claim, touch=lambda: None, check=check))
        return self.claim


@pytest.fixture
def worker(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Worker:
    monkeypatch.setattr(diarization, "detect_speech", lambda *_, **__: SPEECH)
    monkeypatch.setattr(diarization, "CHECKPOINT_S", 15.0)
    return Worker(Platform(redis_url), span_s=100.0)


def test_sound_is_kept_for_further_spans_each_asks_for_the_next_and_the_last_step_lets_it_go(worker: Worker) -> None:
    job, _ = worker.platform.submit("j1")
    worker.platform.transcribe()
    assert not worker.work().closing
    assert worker.noted == ["kept", "more"]
    assert not worker.work().closing
    assert worker.noted == ["kept", "more", "more"]
    assert worker.work().closing
    assert worker.noted == ["kept", "more", "more", "forgotten"]
    assert worker.diarizer.heard == [(0.0,), (40.0,), (100.0,), (140.0,)]
    assert worker.diarizer.told_apart == [(4, Speakers(1, None))]
    assert worker.platform.client.status(job) is Status.COMPLETED


def test_cancel_is_heard_behind_each_checkpoint_and_who_takes_over_hears_the_rest_alone(worker: Worker) -> None:
    worker.platform.submit("j1")

    def stop_when_one_is_heard() -> None:
        if worker.diarizer.heard:
            raise Stopped("the worker stops")

    with pytest.raises(Stopped):
        worker.work(stop_when_one_is_heard)
    assert worker.diarizer.heard == [(0.0,)]
    worker.platform.spans.release(worker.claim)
    worker.work()
    assert worker.diarizer.heard == [(0.0,), (40.0,)]


@pytest.mark.parametrize(("write", "at"), [("append_voices", 0), ("append_diarized", 2)])
def test_what_a_server_forgot_of_a_diarization_is_written_again_before_it_is_done(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, write: str, at: int
) -> None:
    job, _ = worker.platform.submit("j1")
    worker.platform.transcribe()
    for _ in range(at):
        worker.work()
    with monkeypatch.context() as forgetting:
        forgetting.setattr(worker.platform.spans, write, lambda *_, **__: None)  # confirmed, and lost
        with pytest.raises(LeaseLost):
            worker.work()
    assert worker.platform.client.status(job) is Status.PROCESSING
    assert [worker.work().closing for _ in range(at, 3)][-1]
    assert worker.diarizer.told_apart[-1] == (4, Speakers(1, None))
    assert worker.platform.client.status(job) is Status.COMPLETED
    assert worker.platform.segments(job) == [("A", " Good morning."), ("B", " Hello.")]
