from dataclasses import replace

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


@pytest.mark.parametrize(
    ("heard", "meant"),
    [
        ((4.0, 9.5), (605.0, 609.7)),  # starts in the silence before a seam
        ((0.0, 5.5), (0.0, 4.8)),  # ends in the silence behind one
        ((4.0, 5.7), (605.0, 605.9)),  # most of it is behind
        ((4.0, 5.5), (4.0, 4.8)),  # most of it is before
        ((3.5, 9.5), (3.5, 609.7)),  # too early to be silence
        ((9.4, 10.5), (609.6, 610.9)),  # what was left out is shorter than what would be lost
        ((10.5, 14.0), (610.9, 802.6)),  # half of a short stretch is no silence
        ((10.7, 14.0), (800.0, 802.6)),
        ((4.0, 13.0), (605.0, 801.6)),  # what lies on several stretches begins on the second
        ((4.0, 11.7), (605.0, 611.8)),  # and ends on the last but one, too
    ],
)
def test_a_segment_does_not_span_what_was_left_out_for_the_sake_of_the_silence_around_it(
    heard: tuple[float, float], meant: tuple[float, float]
) -> None:
    # Seams at 4.8, 9.8 and 11.4 s.
    stretches = (Span(0.0, 4.8), Span(605.0, 610.0), Span(610.2, 611.8), Span(800.0, 804.0))
    (restored,) = Window(stretches, np.zeros(0, np.float32)).restore([segment(*heard)])
    assert (restored.start, restored.end) == meant


def test_a_word_stays_in_the_stretch_that_has_its_middle() -> None:
    words = (Word(1.5, 2.2, " one", 1.0), Word(2.2, 3.0, " two", 1.0))
    (restored,) = window().restore([segment(1.5, 3.0, words)])
    assert restored.words is not None
    assert [(word.start, word.end) for word in restored.words] == [(11.5, 12.0), (15.2, 16.0)]
    assert (restored.start, restored.end) == (11.5, 16.0)


def test_segments_without_text_are_left_out() -> None:
    assert window().restore([Segment(0, 1, "  "), Segment(1, 1, "")]) == []


def said(start: float, end: float, text: str, *, poor: bool = False, words: bool = False) -> Segment:
    spoken = (Word(start, end, text, 1.0),) if words else None
    return Segment(start, end, text, tokens=(len(text),), avg_logprob=end - start, words=spoken, low_confidence=poor)


@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize(
    ("at", "texts", "bounds"),
    [
        (0.5, [" No. Come.", " Now."], [(10.5, 11.5), (15.5, 16.0)]),  # there is none before it
        (1.6, [" Come. No.", " Now."], [(10.5, 11.6), (15.5, 16.0)]),  # 0.1 s behind one, 0.9 before the other
        (2.4, [" Come.", " No. Now."], [(10.5, 11.5), (15.4, 16.0)]),
        (3.0, [" Come.", " Now. No."], [(10.5, 11.5), (15.5, 16.0)]),
        (29.0, [" Come.", " Now. No."], [(10.5, 11.5), (15.5, 18.0)]),  # behind the window's end
    ],
)
def test_text_that_takes_no_time_is_joined_to_its_nearer_neighbour(
    at: float, texts: list[str], bounds: list[tuple[float, float]], words: bool
) -> None:
    given = [
        said(0.5, 1.5, " Come.", words=words), said(2.5, 3.0, " Now.", words=words), said(at, at, " No.", words=words)
    ]  # fmt: skip
    restored = window().restore(sorted(given, key=lambda one: (one.start, one.end)))
    assert [one.text for one in restored] == texts
    assert [(one.start, one.end) for one in restored] == bounds
    assert ["".join(word.word for word in one.words or ()) for one in restored] == (texts if words else ["", ""])


def test_what_is_joined_has_the_figures_of_the_one_with_a_length_and_is_as_doubtful_as_either() -> None:
    for parts in ([said(0, 1, " a"), said(1, 1, " bc", poor=True)], [said(0, 0, " a", poor=True), said(0, 1, " bc")]):
        (restored,) = window().restore(parts)
        assert (restored.text, restored.tokens, restored.avg_logprob) == (" a bc", (2, 3), 1.0)
        assert restored.low_confidence


def test_what_is_joined_has_words_only_where_they_make_up_its_text() -> None:
    (restored,) = window().restore([said(0, 1, " a", words=True), replace(said(1, 1, " b"), words=())])
    assert (restored.text, restored.words) == (" a b", ())


@pytest.mark.parametrize(
    ("heard", "bounds"),
    [
        ((1.0, 1.0), (11.0, 11.02)),
        ((2.0, 2.0), (15.0, 15.02)),
        ((0.0, 0.0), (10.0, 10.02)),
        ((29.0, 29.5), (17.98, 18.0)),
    ],
)
def test_text_that_takes_no_time_and_has_no_neighbour_gets_a_step(
    heard: tuple[float, float], bounds: tuple[float, float]
) -> None:
    (plain,) = window().restore([segment(*heard)])
    assert (plain.start, plain.end, plain.text) == (*bounds, " text")
    word = Word(*heard, " text", 1.0)
    (timed,) = window().restore([segment(heard[0], heard[0], (word,))])
    assert timed.words is not None
    assert (timed.start, timed.end) == (timed.words[0].start, timed.words[0].end) == bounds


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
    found = made.restore(sorted(segments, key=lambda s: s.start))
    assert "".join(restored.text for restored in found) == " text" * len(segments)
    for restored in found:
        assert restored.start < restored.end
        parts = restored.words or (restored,)
        assert restored.start <= parts[0].start
        for part in parts:
            assert last <= part.start <= part.end <= stretches[-1].end
            assert any(s.start <= part.start <= s.end for s in stretches)
            last = part.end
        assert restored.end == last
