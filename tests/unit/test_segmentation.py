"""Where a text that was written without timestamps is cut into segments."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.engines.segmentation import TimedWord, cut, pieces_of_words


def spoken(text: str, *, seconds_each: float = 0.4, pauses: dict[str, float] | None = None) -> list[TimedWord]:
    """Words of *text* in a steady pace; after those that *pauses* names there is silence."""
    words, at = [], 0.0
    for word in text.split():
        words.append(TimedWord(f" {word}", at, at + seconds_each))
        at += seconds_each + (pauses or {}).get(word, 0.0)
    return words


def segments(words: list[TimedWord], **how: float) -> list[str]:
    return ["".join(word.text for word in words[part.start : part.stop]).strip() for part in cut(words, **how)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One sentence. Another one! A third?", ["One sentence.", "Another one!", "A third?"]),
        ("He said “stop.” Then he left.", ["He said “stop.”", "Then he left."]),
        ("Dr. Brown met Mr. Green.", ["Dr. Brown met Mr. Green."]),
        ("J. R. Smith paid 3.5 dollars.", ["J. R. Smith paid 3.5 dollars."]),
        ("and so on. and on without capitals", ["and so on. and on without capitals"]),
        ("no punctuation at all", ["no punctuation at all"]),
        ("«Wirklich?» fragte er.", ["«Wirklich?»", "fragte er."]),
        ("你好。 再见。", ["你好。", "再见。"]),
    ],
)
def test_segments_end_with_sentences(text: str, expected: list[str]) -> None:
    assert segments(spoken(text)) == expected


def as_split(words: str) -> list[TimedWord]:
    """Words as Whisper's tokenizer and faster-whisper split a text, with `|` between them."""
    return [TimedWord(word, 0.4 * number, 0.4 * number + 0.4) for number, word in enumerate(words.split("|"))]


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        (
            " The| U|.S.| Army| costs| 3|.5| million| at| 5| p|.m.| Monday,| e|.g.| Dr.| Brown.| He| left.",
            ["The U.S. Army costs 3.5 million at 5 p.m. Monday, e.g. Dr. Brown.", "He left."],
        ),
        (" Tiere,| z|.B.| Hunde,| d|.h.| Katzen.| Ende.", ["Tiere, z.B. Hunde, d.h. Katzen.", "Ende."]),
        (" At| www|.Sato|.com.| He| left.", ["At www.Sato.com.", "He left."]),
        (" (See| p.| 5.)| I| have| 5.| Then| 6.", ["(See p. 5.)", "I have 5.", "Then 6."]),
        (" It| is| 3|.5.| Then| left...| So?", ["It is 3.5.", "Then left...", "So?"]),
        ("我有|3.|5|元。|你好|吗？|很好。", ["我有3.5元。", "你好吗？", "很好。"]),
        ("「|行|く|の？|」|と|聞|いた。|「|はい|。」", ["「行くの？」", "と聞いた。", "「はい。」"]),
        (" He| said| “Stop|.”| Then| he| left.", ["He said “Stop.”", "Then he left."]),
    ],
)
def test_a_dot_within_what_is_written_as_one_ends_no_segment(split: str, expected: list[str]) -> None:
    assert segments(as_split(split)) == expected


def test_a_pause_ends_a_segment_in_the_middle_of_a_sentence() -> None:
    words = spoken("first we wait and then go on", pauses={"wait": 1.5})
    assert segments(words) == ["first we wait", "and then go on"]


def test_what_gets_too_long_is_cut_at_its_longest_pause() -> None:
    words = spoken("a b c d e f g h i j", pauses={"c": 0.3, "g": 0.5})
    assert segments(words, longest_s=3.2) == ["a b c d e f g", "h i j"]
    assert segments(words, longest_s=2.0) == ["a b c", "d e f g", "h i j"]


def test_without_pauses_what_is_too_long_is_cut_after_a_comma_or_in_the_middle() -> None:
    assert segments(spoken("a b c, d e f"), longest_s=2.0) == ["a b c,", "d e f"]
    assert segments(spoken("a b c d e f"), longest_s=2.0) == ["a b c", "d e f"]


def test_no_words_make_no_segments() -> None:
    assert cut([]) == []


timed = st.lists(st.tuples(st.text(min_size=0, max_size=6), st.floats(0, 5), st.floats(0, 3)), min_size=1, max_size=40)


@settings(deadline=None)
@given(timed, st.floats(0.1, 10), st.floats(0.1, 5))
def test_segments_cover_all_words_in_order(
    said: list[tuple[str, float, float]], longest_s: float, pause_s: float
) -> None:
    words, at = [], 0.0
    for text, gap, length in said:
        words.append(TimedWord(text, at + gap, at + gap + length))
        at += gap + length
    parts = cut(words, longest_s=longest_s, pause_s=pause_s)
    assert all(len(part) for part in parts)
    assert parts[0].start == 0
    assert parts[-1].stop == len(words)
    assert all(before.stop == after.start for before, after in pairwise(parts))
    assert all(len(part) == 1 or words[part[-1]].end - words[part[0]].start <= longest_s for part in parts)


def test_a_segments_tokens_are_those_of_its_words_with_the_marks_that_were_joined_to_them() -> None:
    words = [{"word": " (Yes.)", "start": 0.1, "end": 0.5}, {"word": " No", "start": 2.0, "end": 2.5}]
    piece = {"seek": 0, "start": 0.0, "end": 3.0, "tokens": [1, 2, 3, 4, 5, 6, 7], "words": words}
    timed = [("", []), (" (Yes.)", [1, 2, 3, 4]), ("", []), (" No", [5, 6]), ("", [7])]
    pieces = pieces_of_words(piece, [{"word": word, "tokens": tokens} for word, tokens in timed], keep_words=True)
    assert [(one["start"], one["end"], one["tokens"]) for one in pieces] == [
        (0.1, 0.5, [1, 2, 3, 4]),
        (2.0, 2.5, [5, 6, 7]),
    ]
    assert [one["words"] for one in pieces] == [words[:1], words[1:]]
