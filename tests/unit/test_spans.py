"""Where recordings are cut: nothing is lost or doubled, and every cut lies in silence."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transcription.spans import ROUNDING_S, Piece, Span, cut, pieces, span_length, windows


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


@settings(deadline=None)
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


@settings(deadline=None)
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


@settings(deadline=None)
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


@pytest.mark.parametrize(
    ("silences", "duration_s", "cuts"),
    [
        pytest.param([(80, 100), (125, 135), (180, 200), (255, 265)], 300, [90, 190], id="nearest to the target"),
        pytest.param([(35, 45), (85, 95)], 160, [90], id="not at the first that there is"),
        pytest.param([(75, 85), (115, 125)], 200, [80], id="the earlier of two that are as near"),
        pytest.param([(240, 260)], 400, [250], id="late, where there is none before"),
        pytest.param([(40, 50), (290, 310)], 400, [300], id="none of less than half the target"),
        pytest.param([(40, 60), (290, 310)], 400, [50, 300], id="one of half the target"),
        pytest.param([(75, 85), (105, 115)], 200, [110], id="the last, where it is nearer"),
        pytest.param([(95, 105), (185, 195), (225, 235)], 330, [100, 190], id="by what is behind the cut before"),
        pytest.param([(95, 105), (135, 145), (295, 305)], 400, [100, 300], id="none so soon after another"),
        pytest.param([(95, 105), (195, 205), (295, 305)], 324, [100, 200], id="a rest of less than a quarter"),
        pytest.param([(95, 105), (195, 205), (295, 305)], 325, [100, 200, 300], id="a rest of a quarter"),
        pytest.param([(70, 80)], 150, [], id="one span of up to one and a half"),
        pytest.param([(70, 82)], 151, [76], id="two of more"),
        pytest.param([(140, 160)], 160, [], id="no cut that leaves next to nothing"),
    ],
)
def test_a_recording_is_cut_in_the_middle_of_the_silence_that_is_nearest_to_the_length(
    silences: list[tuple[float, float]], duration_s: float, cuts: list[float]
) -> None:
    edges = [0.0, *(edge for silence in silences for edge in silence), duration_s]
    speech = [Span(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    assert [span.start for span in cut(speech, duration_s, target_s=100)] == [0, *cuts]


def test_times_of_pieces_are_those_that_the_ledger_keeps() -> None:
    assert pieces([Span(0.12345, 1.23456)], 2.34567, target_s=60) == [Piece(Span(0.0, 2.346), (Span(0.123, 1.235),))]


def test_a_cut_between_two_milliseconds_is_at_one_of_them() -> None:
    first, second = pieces([Span(0, 100.001), Span(100.002, 200)], 200, target_s=100)
    assert first.span.end == second.span.start == round(second.span.start, 3)


def test_speech_that_begins_at_a_cut_is_in_the_piece_behind_it() -> None:
    speech = [Span(0, 100), Span(100, 200)]
    assert [part.speech for part in pieces(speech, 200, target_s=100)] == [(speech[0],), (speech[1],)]


def test_what_is_left_of_a_long_stretch_is_a_window_that_takes_in_more() -> None:
    assert windows([Span(0, 60.5)]) == [[Span(0, 30)], [Span(30, 60)], [Span(60, 60.5)]]
    assert windows([Span(0, 40), Span(50, 70), Span(80, 81)]) == [
        [Span(0, 30)], [Span(30, 40), Span(50, 70)], [Span(80, 81)],
    ]  # fmt: skip


def test_a_stretch_of_no_length_is_in_no_window() -> None:
    assert windows([Span(5, 5), Span(6, 7)]) == [[Span(6, 7)]]


def test_what_rounding_adds_to_a_window_makes_no_second_one() -> None:
    assert windows([Span(0, 30 + ROUNDING_S)]) == [[Span(0, 30 + ROUNDING_S)]]


@pytest.mark.parametrize(("rate", "length_s"), [(None, 300.0), (0.2, 60.0), (2.0, 120.0), (4.5, 270.0), (100.0, 300.0)])
def test_spans_are_what_their_worker_computes_in_a_minute_within_bounds(rate: float | None, length_s: float) -> None:
    assert span_length(300.0, rate) == length_s
