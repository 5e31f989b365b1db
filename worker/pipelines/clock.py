"""Where a span's time went."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from transcription.computation import Timing


@dataclass(slots=True)
class Clock:
    """Seconds spent on each stage."""

    spent: dict[str, float] = field(default_factory=lambda: {"decode": 0.0, "vad": 0.0, "compute": 0.0})

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the block's time to *stage*."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.spent[stage] += time.perf_counter() - start

    def timing(self, *, audio_s: float) -> Timing:
        """What was spent on so many seconds of audio."""
        return Timing(
            audio_s=audio_s,
            decode_s=self.spent["decode"],
            vad_s=self.spent["vad"],
            compute_s=self.spent["compute"],
        )
