"""Computation: one recording with one set of options by one model, to be computed once."""

from dataclasses import dataclass

from transcription.job import Failure
from transcription.options import Decoding, Diarization, Priority
from transcription.result_warning import ResultWarning
from transcription.spans import Span
from transcription.tracks import Track


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """
    A span that a worker holds under a lease.

    ``token`` is the fencing token: it grows with every claim, every write carries it, and the ledger refuses an old
    one. ``windows_done`` windows of the span were written by an earlier holder and needn't be computed again.
    ``speech`` holds the stretches to transcribe; None until the recording has been decoded and cut. ``whole``: the
    span is all of the recording. ``suspect``: a process died with it; ``alone``: several did, and nothing
    runs beside it.
    ``diarization``: the computation says who speaks, not what is said; ``closing``: its spans have been heard, and all
    of them together are to be told apart.
    ``request_id`` and ``traceparent`` are those of the request that began the computation. ``faults`` counts the
    platform's faults that the span met since it last made progress, for ``faulting_s`` by now. ``revision`` is that of
    the weights which the request took for granted; None: an earlier version wrote it.
    ``waited_s`` is the time from the recording's submission to this claim, where this is its first one; ``age_s`` that
    time at every claim. Both are None for a dead letter that is tried again.
    ``job`` is the first of the ``jobs`` that wait for it.
    """

    computation: str
    index: int
    token: int
    span: Span
    attempt: int
    windows_done: int
    audio_sha256: str
    filename: str
    model: str
    decoding: Decoding
    language: str | None
    speech: tuple[Span, ...] | None
    whole: bool
    alone: bool
    suspect: bool = False
    request_id: str = ""
    traceparent: str = ""
    faults: int = 0
    faulting_s: float = 0.0
    diarization: Diarization | None = None
    closing: bool = False
    revision: str | None = None
    priority: Priority = Priority.BATCH
    waited_s: float | None = None
    age_s: float | None = None
    job: str = ""
    jobs: int = 0

    @property
    def name(self) -> str:
        """What logs call this span."""
        return f"{self.computation}/{self.index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A computation that failed though trying again might help; it waits for an operator. Times in Unix seconds."""

    computation: str
    died_at: float
    failure: Failure
    attempts: int
    model: str
    decoding: Decoding
    audio_sha256: str
    filename: str
    duration_s: float
    jobs: tuple[str, ...]
    diarization: Diarization | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """
    What decoding a recording told of it: what its transcript will lack, and its audio tracks.

    ``same_as``: the number of the channel whose transcript says all that this one's would.
    """

    warnings: tuple[ResultWarning, ...] = ()
    tracks: tuple[Track, ...] = ()
    same_as: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """What a lease's renewal found: whether the worker still holds the span, and whether anybody wants it."""

    held: bool
    wanted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Where a span's time went, in seconds."""

    audio_s: float
    decode_s: float = 0.0
    vad_s: float = 0.0
    compute_s: float = 0.0

    @property
    def real_time_factor(self) -> float:
        """Seconds of work for a second of audio."""
        return (self.decode_s + self.vad_s + self.compute_s) / self.audio_s if self.audio_s else 0.0
