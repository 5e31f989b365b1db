"""How long the ledger takes to answer this process, and how late the process itself is: a slow machine is neither's."""

import asyncio

from prometheus_client import CollectorRegistry, Histogram

from transcription.ledger.connections.answer_times import BOUNDS_S, AnswerTimes

TICK_S = 0.25
"""How often the loop's lag is measured, and answers reach the histogram that is scraped."""


class _Added(Histogram):
    """A histogram that takes many observations at once."""

    def add(self, counts: list[int], seconds: float) -> None:
        """Count observations of each class, shape (buckets + 1,), that make *seconds* together."""
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)
        self._sum.inc(seconds)


class LedgerAnswers:
    """
    Two histograms that tell a slow ledger from a slow machine.

    Attributes:
        times: What clients of the ledger in the loop's thread add to.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.times = AnswerTimes()
        self._answers = _Added(
            "murmur_ledger_answer_duration_seconds",
            "Time that the ledger took to answer, without what the event loop was late by.",
            buckets=BOUNDS_S,
            registry=registry,
        )
        self._lag = Histogram(
            "murmur_event_loop_lag_seconds",
            "How late the event loop came to a timer; measured four times a second.",
            buckets=BOUNDS_S,
            registry=registry,
        )
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to measure in the running loop."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(TICK_S, self._tick, loop, loop.time() + TICK_S)

    def stop(self) -> None:
        """Measure no more."""
        if self._timer is not None:
            self._timer.cancel()

    def flush(self) -> None:
        """Bring what was added into the histogram."""
        counts, seconds = self.times.take()
        self._answers.add(counts, seconds)

    def _tick(self, loop: asyncio.AbstractEventLoop, due_at: float) -> None:
        now = loop.time()
        self._lag.observe(max(0.0, now - due_at))
        self.flush()
        self._timer = loop.call_at(now + TICK_S, self._tick, loop, now + TICK_S)
