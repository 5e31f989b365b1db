"""The values of a transcript: its order, and its text."""

from transcription.transcript import Segment, Transcript, Word, merge


def test_segments_of_all_spans_stand_in_the_order_of_time() -> None:
    parts = [[Segment(4, 5, " b"), Segment(6, 7, " c")], [Segment(0, 1, " a")], [], [Segment(9, 10, " d")]]
    assert [segment.text for segment in merge(parts)] == [" a", " b", " c", " d"]


def test_text_is_all_that_was_said_on_one_line() -> None:
    whole = Transcript(
        segments=(Segment(0, 1, " Hello,"), Segment(1, 2, " you.", words=(Word(1, 2, " you.", 0.9),))),
        language="en",
        language_probability=0.9,
        duration=2.0,
        task="transcribe",
        model="demo",
    )
    assert whole.text == "Hello, you."
