"""Where recordings are cut: nothing is lost or doubled, and every cut lies in silence."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from transcription.spans import ROUNDING_S, Span, cut, pieces, windows


@st.composite
def recordings(draw: st.DrawFn) -> tuple[list[Span], float]:
    """Stretches of speech of at most 30 s, as voice activity detection gives them, and the recording's length."""
    at, speech = 0.0, []
    for _ in range(draw(st.integers(0, 120))):
        at += draw(st.integers(0, 20_000)) / 1000
        length = draw(st.integers(100, 30_000)) / 1000
        speech.append(Span(round(at, 3), round(at + length, 3)))
        at += length
    return speech, round(at + draw(st.integers(0, 5000)) / 1000, 3)


@given(recordings(), st.sampled_from([20.0, 60.0, 300.0]))
def test_spans_cover_the_recording_without_gaps_and_cut_no_speech(
    recording: tuple[list[Span], float], target_s: float
) -> None:
    speech, duration = recording
    spans = cut(speech, duration, target_s=target_s)
    assert spans[0].start == 0
    assert spans[-1].end == duration
    assert all(a.end == b.start for a, b in pairwise(spans))
    for span in spans[1:]:
        assert not any(stretch.start < span.start < stretch.end for stretch in speech)


@given(recordings(), st.sampled_from([20.0, 60.0]))
def test_each_stretch_of_speech_is_in_one_piece(recording: tuple[list[Span], float], target_s: float) -> None:
    speech, duration = recording
    parts = pieces(speech, duration, target_s=target_s)
    assert [stretch for part in parts for stretch in part.speech] == speech
    for part in parts:
        assert all(part.span.start <= s.start and s.end <= part.span.end + 1e-3 for s in part.speech)


def test_a_short_recording_is_one_span() -> None:
    assert cut([Span(1, 2), Span(200, 201)], 440.0, target_s=300) == [Span(0.0, 440.0)]


def test_spans_are_about_as_long_as_they_should_be_where_there_are_pauses() -> None:
    speech = [Span(t, t + 9.0) for t in range(0, 3600, 10)]
    lengths = [span.seconds for span in cut(speech, 3600.0, target_s=300)]
    assert len(lengths) == 12
    assert max(lengths) < 320


@given(recordings())
def test_windows_hold_all_speech_once_and_at_most_thirty_seconds(recording: tuple[list[Span], float]) -> None:
    speech, _ = recording
    groups = windows(speech)
    assert [stretch for group in groups for stretch in group] == speech
    assert all(sum(stretch.seconds for stretch in group) <= 30.0 + ROUNDING_S for group in groups)


def test_a_stretch_longer_than_a_window_is_cut_at_the_limit() -> None:
    assert windows([Span(0, 70)]) == [[Span(0, 30)], [Span(30, 60)], [Span(60, 70)]]


def test_windows_are_filled_with_the_stretches_that_follow_each_other() -> None:
    ten = [Span(t, t + 10) for t in range(0, 70, 12)]
    assert [len(group) for group in windows(ten)] == [3, 3]
    assert [len(group) for group in windows([Span(0, 29), Span(30, 31), Span(40, 40.5), Span(50, 79)])] == [2, 2]
