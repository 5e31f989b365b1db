"""Admission: a span is taken where there is memory for it, and one always is."""

import pytest

from transcription.observability.memory import Memory
from worker.health.admission import LOOK_S, SPAN_BYTES, Admission

GIB = 1 << 30


def with_free(free: int) -> Memory:
    return Memory(total=2 * GIB, used=2 * GIB - free)


@pytest.mark.parametrize(
    ("free", "held", "taken"),
    [(SPAN_BYTES, 3, True), (SPAN_BYTES - 1, 3, False), (0, 1, False), (0, 0, True), (GIB, 11, True)],
)
def test_a_further_span_is_taken_only_where_there_is_memory_for_it(free: int, held: int, taken: bool) -> None:
    assert Admission(lambda: with_free(free)).room(held=held) is taken


def test_memory_is_looked_at_a_few_times_a_second_however_many_spans_are_claimed() -> None:
    left, looked, now = [GIB, 0, GIB], [], [5.0]

    def read() -> Memory:
        looked.append(now[0])
        return with_free(left[len(looked) - 1])

    admission = Admission(read, lambda: now[0])
    found = []
    for at in (5.0, 5.0 + LOOK_S, 5.01 + LOOK_S, 5.02 + LOOK_S, 6.0):
        now[0] = at
        found.append(admission.room(held=1))
    assert found == [True, True, False, False, True]
    assert looked == [5.0, 5.01 + LOOK_S, 6.0]
