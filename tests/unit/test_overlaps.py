"""From stretches of speech with their speakers to turns: cut where overlaps begin and end, numbered as first heard."""

from transcription.spans import Span
from transcription.speakers import Turn
from worker.diarizers.overlaps import turns_of


def test_speakers_are_numbered_as_they_are_first_heard() -> None:
    turns, order = turns_of([(Span(5, 6), 3), (Span(0, 2), 9), (Span(3, 4), 3)])
    assert turns == (Turn(0, 2, 0), Turn(3, 4, 1), Turn(5, 6, 1))
    assert order == (9, 3)


def test_turns_are_cut_where_two_speak_at_once() -> None:
    turns, _ = turns_of([(Span(0, 4), 0), (Span(2, 6), 1)])
    assert turns == (Turn(0, 2, 0), Turn(2, 4, 0, overlap=True), Turn(2, 4, 1, overlap=True), Turn(4, 6, 1))


def test_stretches_of_one_speaker_that_touch_or_overlap_are_one_turn() -> None:
    assert turns_of([(Span(0, 2), 0), (Span(2, 3), 0), (Span(2.5, 4), 0)])[0] == (Turn(0, 4, 0),)


def test_nothing_has_no_turns() -> None:
    assert turns_of([]) == ((), ())
    assert turns_of([(Span(1, 1), 0)]) == ((), ())
