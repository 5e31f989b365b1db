"""The way of one span of a diarization: decode, find speech, cut, hear its voices; of the last one: tell them apart."""

from collections.abc import Callable
from contextlib import ExitStack

from transcription.computation import Claim, Timing
from transcription.errors import ReferenceWithoutSpeech
from transcription.media.recording import Sound
from transcription.options import Diarization
from transcription.ports import SpanStore
from transcription.settings import Settings
from transcription.spans import Piece, Span, pieces, windows
from worker.audio.speech import detect_speech
from worker.diarizers.base import Diarizer, RecordingDiarizer, Voices
from worker.diarizers.choice import ChosenDiarizer
from worker.diarizers.clustering import Speakers
from worker.diarizers.embedding import SPEECH
from worker.diarizers.packing import pack, pack_diarized, unpack, unpack_diarized
from worker.leases import Held
from worker.pipelines.clock import Clock
from worker.pipelines.sounds import Sounds, touch_and_check

CHECKPOINT_S = 120.0
"""Speech that is heard between two writes."""


class DiarizationPipeline:
    """Runs spans of diarizations; threads share it."""

    def __init__(
        self,
        *,
        spans: SpanStore,
        sounds: Sounds,
        diarizer: ChosenDiarizer,
        settings: Settings,
        more: Callable[[Claim], None] = lambda _: None,
    ) -> None:
        """*more* is called when a span is done and others of its diarization may be to do: the last one comes so."""
        self._more = more
        self._spans = spans
        self._sounds = sounds
        self._diarizer = diarizer
        self._span_s = settings.worker.span_s

    def run(self, held: Held) -> Timing:
        """
        Take a claimed span to its commit.

        Raises:
            LeaseLost: another worker holds the span now.
            Stopped: nobody wants it any more, or the worker hands it back.
            MurmurationError: what went wrong; `transcription.retry` decides what then.
        """
        claim, clock = held.claim, Clock()
        diarizer = self._diarizer.get()
        if claim.closing:
            with clock.measure("compute"):
                written = self._find_speakers(held, diarizer)
        else:
            with ExitStack() as scratch:
                if isinstance(diarizer, RecordingDiarizer):
                    written = self._diarize_recording(held, diarizer, clock, scratch)
                else:
                    find = self._prepare if claim.speech is None else self._load
                    piece, sound = find(held, clock, scratch)
                    with clock.measure("compute"):
                        written = self._hear(held, diarizer, piece, sound)
        timing = clock.timing(audio_s=claim.span.seconds)
        if self._spans.finish(claim, timing, windows=written):
            self._sounds.forget(claim)
        else:
            self._more(claim)
        return timing

    def _prepare(self, held: Held, clock: Clock, scratch: ExitStack) -> tuple[Piece, Sound]:
        """Decode the recording once, find its speech once, and cut it into spans."""
        claim = held.claim
        with clock.measure("decode"):
            recording, draft = self._sounds.of(held, scratch)
        touch_and_check(held)
        with clock.measure("vad"):
            speech = detect_speech(recording, options=SPEECH, progressed=lambda: touch_and_check(held))
        parts = pieces(recording.holes.placed(speech), recording.duration_s, target_s=self._span_s)
        if len(parts) > 1 and draft:
            draft.keep(recording)  # for its further spans
        touch_and_check(held)
        self._spans.prepared(claim, parts, language=None, probability=None)
        return parts[0], recording

    def _load(self, held: Held, clock: Clock, scratch: ExitStack) -> tuple[Piece, Sound]:
        with clock.measure("decode"):
            sound = self._sounds.load(held, scratch)
        return Piece(held.claim.span, held.claim.speech or ()), sound

    def _hear(self, held: Held, diarizer: Diarizer, piece: Piece, sound: Sound) -> int:
        """Write what is heard, a few minutes at a time but for what an earlier holder wrote; how many windows it is."""
        claim = held.claim
        groups = windows(piece.speech, limit_s=CHECKPOINT_S)
        for number, group in enumerate(groups[claim.windows_done :], start=claim.windows_done):
            heard = diarizer.hear(group, sound, check=lambda: touch_and_check(held))
            self._spans.append_voices(claim, pack(heard), window=number, audio_s=group[-1].end - piece.span.start)
            touch_and_check(held)
        return len(groups)

    def _diarize_recording(self, held: Held, diarizer: RecordingDiarizer, clock: Clock, scratch: ExitStack) -> int:
        """Have the whole recording diarized, as one window, for an engine that can't do with parts of it."""
        claim = held.claim
        with clock.measure("decode"):
            recording = self._sounds.of(held, scratch)[0]
        touch_and_check(held)
        if claim.speech is None:
            whole = Span(0.0, recording.duration_s)
            self._spans.prepared(claim, [Piece(whole, (whole,))], language=None, probability=None)
        if claim.windows_done:
            return claim.windows_done
        with clock.measure("compute"):
            found = diarizer.diarize_recording(recording, _asked(claim), check=lambda: touch_and_check(held))
        packed = pack_diarized(found)
        self._spans.append_voices(claim, packed, window=0, audio_s=recording.duration_s)
        return 1

    def _find_speakers(self, held: Held, diarizer: Diarizer | RecordingDiarizer) -> int:
        """Write who speaks when, as one window."""
        spans = self._spans.voices(held.claim)
        windows_heard = [window for span in spans for window in span.windows]
        touch_and_check(held)
        if isinstance(diarizer, RecordingDiarizer):
            (packed,) = windows_heard
            found = unpack_diarized(packed)
        else:
            voices = Voices.joined(list(map(unpack, windows_heard)))
            speech = [stretch for span in spans for stretch in span.speech]
            found = diarizer.diarize(voices, speech, _asked(held.claim))
        if held.claim.diarization is not None and held.claim.diarization.reference and not found.turns:
            raise ReferenceWithoutSpeech("no speech is heard in the sample")
        self._spans.append_diarized(held.claim, found)
        return 1


def _asked(claim: Claim) -> Speakers:
    asked = claim.diarization or Diarization()
    if asked.num_speakers is not None:
        return Speakers(asked.num_speakers, asked.num_speakers)
    return Speakers(asked.min_speakers or 1, asked.max_speakers)
