"""A worker's hand on the ledger, without a model: each step of a computation is one call."""

from collections.abc import Sequence

from transcription.computation import Claim, Timing
from transcription.job import Failure
from transcription.ledger.span_store import RedisSpans
from transcription.ports import WorkerInfo
from transcription.spans import Piece, Span
from transcription.transcript import Segment

MODELS = ("demo",)


class LedgerWorker:
    """Claims spans and writes what the test says."""

    def __init__(self, spans: RedisSpans, name: str = "w1", *, rate: float | None = 2.0, pid: int = 1) -> None:
        self.spans = spans
        self.name = name
        self.pid = pid
        self.info = WorkerInfo(
            id=name, models=MODELS, engine="none", device="cpu", compute_type="int8", slots=1, host="here",
            pid=pid, started_at=1.0, rate=rate,
        )  # fmt: skip
        spans.register(self.info)

    def claim(self) -> Claim:
        claim = self.spans.claim(self.name, models=MODELS, extras=True)
        assert claim is not None
        return claim

    def prepare(self, claim: Claim, ends: Sequence[float] = (10.0,)) -> None:
        """Cut the recording at *ends*, the last of which is its own."""
        starts = (0.0, *ends[:-1])
        pieces = [Piece(Span(a, b), (Span(a, b),)) for a, b in zip(starts, ends, strict=True)]
        self.spans.prepared(claim, pieces, language="en", probability=0.9)

    def write(self, claim: Claim, window: int, *texts: str, audio_s: float) -> None:
        """Write a window of one segment for each of *texts*; *audio_s* of the span are done now."""
        start = claim.span.start + 2.0 * window
        segments = [Segment(start + n, start + n + 1, text) for n, text in enumerate(texts)]
        self.spans.append(claim, segments, window=window, audio_s=audio_s)

    def finish(self, claim: Claim) -> None:
        self.spans.finish(claim, Timing(audio_s=claim.span.seconds, compute_s=0.5))

    def work(self, text: str = " hello world") -> None:
        """Take the next span and bring its recording to its end."""
        claim = self.claim()
        self.prepare(claim)
        self.write(claim, 0, text, audio_s=10.0)
        self.finish(claim)

    def fail(self, code: str = "engine_failed") -> None:
        """Take the next span, and report that no further try makes sense."""
        self.spans.fail(self.claim(), Failure(code=code, message="boom", retryable=True), retry_in_s=None)


def nothing_for(worker: LedgerWorker, *, extras: bool = True) -> bool:
    return worker.spans.claim(worker.name, models=MODELS, extras=extras) is None


def dies(worker: LedgerWorker) -> LedgerWorker:
    """Its process is gone, and another one has its name."""
    return LedgerWorker(worker.spans, worker.name, pid=worker.pid + 1)
