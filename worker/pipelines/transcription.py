"""The way of one span through the worker: decode, find speech, cut, transcribe window by window, commit."""

import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from transcription.computation import Facts, Timing
from transcription.errors import EngineFailed
from transcription.media.audio import RATE, sample_at
from transcription.media.recording import Sound
from transcription.ports import SpanStore
from transcription.result_warning import ResultWarning, WarningCode
from transcription.settings import Settings
from transcription.spans import Piece, Span, pieces, span_length, windows
from worker.audio.speech import detect_speech, everything
from worker.audio.windows import Window
from worker.engines.base import Engine
from worker.leases import Held
from worker.metrics import counters
from worker.model_cache import ModelCache
from worker.pipelines.clock import Clock
from worker.pipelines.sounds import Sounds, touch_and_check


@dataclass(frozen=True, slots=True)
class Work:
    """What there is to transcribe: a piece of a recording or all of it, the sound that holds it, and its language."""

    piece: Piece
    sound: Sound
    language: str | None
    whole: bool

    @property
    def sound_s(self) -> float:
        """The piece's length, without silence that nobody holds."""
        span, holes = self.piece.span, self.sound.holes
        first, last = sample_at(span.start), sample_at(span.end)
        return (holes.held_at(last) - holes.held_at(first)) / RATE if holes.all else span.seconds


class Pipeline:
    """Runs spans; threads share it. It knows nothing of Celery."""

    def __init__(
        self,
        *,
        spans: SpanStore,
        sounds: Sounds,
        models: ModelCache,
        settings: Settings,
        rate: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._spans = spans
        self._sounds = sounds
        self._models = models
        self._limit_span_s = settings.worker.span_s
        self._rate = rate

    def run(self, held: Held) -> Timing:
        """
        Take a claimed span to its commit.

        Raises:
            LeaseLost: another worker holds the span now.
            Stopped: nobody wants it any more, or the worker hands it back.
            MurmurationError: what went wrong; `transcription.retry` decides what then.
        """
        claim, clock = held.claim, Clock()
        held.in_engine = True  # loading a model may take minutes; what comes from the hub meanwhile is progress
        waiting = partial(touch_and_check, held)
        with self._models.get(claim.model, waiting=waiting) as engine, ExitStack() as scratch:
            held.in_engine = False
            held.touch()
            if claim.revision is not None and self._models.revision(claim.model) != claim.revision:
                self._spans.keep_from_cache(claim)
            if claim.speech is None:
                work = self._prepare(held, engine, clock, scratch)
            else:
                work = self._load(held, clock, scratch)
            with clock.measure("compute"):
                written = self._transcribe(held, engine, work)
        timing = clock.timing(audio_s=work.sound_s)
        if self._spans.finish(claim, timing, windows=written):
            counters.transcribed(claim, held_s=time.monotonic() - held.claimed_at)
            self._sounds.forget(claim)
        return timing

    def _prepare(self, held: Held, engine: Engine, clock: Clock, scratch: ExitStack) -> Work:
        """Decode the recording once, find its speech once, detect its language once, and cut it into spans."""
        claim = held.claim
        with clock.measure("decode"):
            recording, draft = self._sounds.of(held, scratch)
        touch_and_check(held)
        with clock.measure("vad"):
            if recording.same_as is None:
                speech = detect_speech(recording, progressed=lambda: touch_and_check(held))
                stretches = speech if claim.decoding.vad_filter else everything(speech, recording.held_s)
            else:  # it is transcribed as the other channel's
                speech, stretches = [], []
            speech, stretches = recording.holes.placed(speech), recording.holes.placed(stretches)
        touch_and_check(held)
        parts = pieces(stretches, recording.duration_s, target_s=span_length(self._limit_span_s, self._rate()))
        with clock.measure("compute"):
            language, probability = self._language(held, engine, speech or stretches, recording)
        facts = Facts(warnings=recording.warnings, tracks=recording.tracks, same_as=recording.same_as)
        if len(parts) > 1 and draft:
            draft.keep(recording)  # for its further spans
        held.touch()
        self._spans.prepared(claim, parts, language=language, probability=probability, facts=facts)
        return Work(parts[0], recording, language, whole=len(parts) == 1)

    def _language(
        self, held: Held, engine: Engine, speech: list[Span], sound: Sound
    ) -> tuple[str | None, float | None]:
        """The language of what is to be transcribed, and its probability where it was detected; None: there is none."""
        claim = held.claim
        if claim.decoding.language or not speech:
            return claim.decoding.language, None
        groups = windows(speech)
        among: dict[str, Any] = {"languages": claim.decoding.languages} if claim.decoding.languages else {}
        held.progress = lambda: engine.progress(claim.computation)
        held.in_engine = True
        language, probability = engine.detect_language(
            Window.joined(groups[0], sound.cut).samples,
            owner=claim.computation,
            cancelled=lambda: held.over,
            fast_short=claim.decoding.fast_short and len(groups) == 1,
            **among,
        )
        held.in_engine = False
        if not language:  # without one nothing would be written, and it would look like silence
            raise EngineFailed("there is speech, but the model told no language")
        return language, probability

    def _load(self, held: Held, clock: Clock, scratch: ExitStack) -> Work:
        """Open the sound of a span that was prepared before."""
        claim = held.claim
        with clock.measure("decode"):
            sound = self._sounds.load(held, scratch)
        return Work(Piece(claim.span, claim.speech or ()), sound, claim.language, whole=claim.whole)

    def _transcribe(self, held: Held, engine: Engine, work: Work) -> int:
        """Write one window after the other but for those that an earlier holder wrote; how many there are now."""
        claim, piece = held.claim, work.piece
        every = windows(piece.speech)
        groups = every[claim.windows_done :]
        if not groups:
            return claim.windows_done
        language = work.language or self._language(held, engine, list(piece.speech), work.sound)[0] or ""
        decoding = claim.decoding
        if not work.whole or len(every) > 1:  # windows of a long recording never are heard in their own length
            decoding = decoding.model_copy(update={"fast_short": False})
        skipped: list[Span] = []
        told: deque[str] = deque(maxlen=1)
        telling: dict[str, Any] = {"told": told.append} if decoding.multilingual else {}
        held.progress = lambda: engine.progress(claim.computation)
        held.in_engine = True
        written = engine.transcribe(
            (Window.joined(group, work.sound.cut) for group in groups),
            decoding,
            language=language,
            owner=claim.computation,
            cancelled=lambda: held.over,
            skipped=skipped.append,
            **telling,
        )
        for number, (group, segments) in enumerate(zip(groups, written, strict=True), start=claim.windows_done):
            held.touch()
            done_s = group[-1].end - piece.span.start
            last = told[-1] if told else None
            self._spans.append(
                claim, segments, window=number, audio_s=done_s, warnings=map(_skipped, skipped), language=last
            )
            skipped.clear()
            held.check()
        held.in_engine = False
        return claim.windows_done + len(groups)


def _skipped(part: Span) -> ResultWarning:
    return ResultWarning(
        code=WarningCode.SKIPPED,
        message="the model got no further here; this part isn't transcribed",
        start=part.start,
        seconds=part.seconds,
    )
