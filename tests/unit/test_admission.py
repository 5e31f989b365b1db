"""Admission: a span is taken where there is memory for it, and one always is."""

import pytest

from transcription.observability.memory import Memory
from worker.health.admission import SPAN_BYTES, room

GIB = 1 << 30


@pytest.mark.parametrize(
    ("free", "held", "taken"),
    [(SPAN_BYTES, 3, True), (SPAN_BYTES - 1, 3, False), (0, 1, False), (0, 0, True), (GIB, 11, True)],
)
def test_a_further_span_is_taken_only_where_there_is_memory_for_it(free: int, held: int, taken: bool) -> None:
    assert room(Memory(total=2 * GIB, used=2 * GIB - free), held=held) is taken
