"""Admission: whether there is memory for another span, besides a place for it."""

from transcription.observability.memory import Memory

SPAN_BYTES = 192 << 20
"""What a span takes at most, however long its recording is: its decoder, and a block of the search for speech."""


def room(memory: Memory, *, held: int) -> bool:
    """Whether a worker that holds so many spans has memory for one more; for the first there always is."""
    return held == 0 or memory.total - memory.used >= SPAN_BYTES
