import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transcription.media.audio import RATE
from transcription.spans import Span
from transcription.transcript import Segment, Word
from worker.audio.windows import Window

STRETCHES = [Span(10.0, 12.0), Span(15.0, 18.0)]


def window() -> Window:
    samples = np.arange(20 * RATE, dtype=np.float32)
    return Window.collect(STRETCHES, samples)


def segment(start: float, end: float, words: tuple[Word, ...] | None = None) -> Segment:
    return Segment(start, end, " text", words=words)


def test_a_window_holds_its_stretches_one_after_another() -> None:
    made = window()
    assert made.seconds == 5.0
    assert made.samples[0] == 10 * RATE
    assert made.samples[2 * RATE] == 15 * RATE


def test_a_window_made_from_a_part_of_the_recording_is_the_same() -> None:
    part = np.arange(20 * RATE, dtype=np.float32)[round(9.5 * RATE) :]
    assert np.array_equal(Window.collect(STRETCHES, part, offset_s=9.5).samples, window().samples)


@pytest.mark.parametrize(
    ("heard", "meant"),
    [
        ((0.0, 2.0), (10.0, 12.0)),  # an end on the seam stays before it
        ((2.0, 4.0), (15.0, 17.0)),  # a start on the seam comes after it
        ((1.0, 3.5), (11.0, 16.5)),  # across the pause
        ((4.0, 30.0), (17.0, 18.0)),  # the model counts on into the padding
    ],
)
def test_times_come_back_to_where_they_were_heard(heard: tuple[float, float], meant: tuple[float, float]) -> None:
    (restored,) = window().restore([segment(*heard)])
    assert (restored.start, restored.end) == meant


def test_a_word_stays_in_the_stretch_that_has_its_middle() -> None:
    words = (Word(1.5, 2.2, " one", 1.0), Word(2.2, 3.0, " two", 1.0))
    (restored,) = window().restore([segment(1.5, 3.0, words)])
    assert restored.words is not None
    assert [(word.start, word.end) for word in restored.words] == [(11.5, 12.0), (15.2, 16.0)]
    assert (restored.start, restored.end) == (11.5, 16.0)


def test_segments_without_text_or_length_are_left_out() -> None:
    assert window().restore([Segment(0, 1, "  "), segment(1, 1), segment(29.0, 29.5)]) == []


times = st.floats(0, 32, allow_nan=False)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 40), st.floats(0.1, 9)), min_size=1, max_size=4),
    st.lists(st.tuples(times, times, st.booleans()), max_size=6),
)
def test_restored_times_never_run_backwards_or_leave_the_stretches(
    gaps: list[tuple[float, float]], heard: list[tuple[float, float, bool]]
) -> None:
    stretches: list[Span] = []
    for gap, length in gaps:
        start = (stretches[-1].end if stretches else 0.0) + gap
        stretches.append(Span(start, start + length))
    segments = [
        segment(a, b, (Word(a, (a + b) / 2, " a", 1.0), Word((a + b) / 2, b, " b", 1.0)) if words else None)
        for a, b, words in ((min(a, b), max(a, b), words) for a, b, words in heard)
    ]
    made = Window(tuple(stretches), np.zeros(0, np.float32))
    last = stretches[0].start
    for restored in made.restore(sorted(segments, key=lambda s: s.start)):  # fine: hypothesis gives many
        parts = restored.words or (restored,)
        assert restored.start <= parts[0].start
        for part in parts:
            assert last <= part.start <= part.end <= stretches[-1].end
            assert any(s.start <= part.start <= s.end for s in stretches)
            last = part.end
        assert restored.end == last
