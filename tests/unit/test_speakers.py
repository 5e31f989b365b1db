"""Whose each word is: turns and a transcript come together."""

from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transcription.speakers import Turn, attribute, label
from transcription.transcript import Segment, Word


def spoken(text: str, start: float = 0.0, each_s: float = 1.0) -> Segment:
    """A segment whose words take *each_s* seconds, with their times."""
    words = tuple(
        Word(start + n * each_s, start + (n + 1) * each_s, f" {word}", 0.9) for n, word in enumerate(text.split())
    )
    return Segment(words[0].start, words[-1].end, f" {text}", tokens=(1, 2), words=words)


def who(segments: tuple[Segment, ...]) -> list[tuple[str | None, str]]:
    return [(segment.speaker, segment.text) for segment in segments]


def test_segment_is_cut_where_the_speaker_changes() -> None:
    found = attribute([spoken("good morning. hello there")], [Turn(0, 2, 0), Turn(2, 4, 1)])
    assert who(found) == [("A", " good morning."), ("B", " hello there")]
    assert [(one.start, one.end) for one in found] == [(0.0, 2.0), (2.0, 4.0)]
    assert [[word.speaker for word in one.words] for one in found] == [["A", "A"], ["B", "B"]]


def test_segment_of_one_speaker_stays_as_it_is() -> None:
    (found,) = attribute([spoken("good morning")], [Turn(0, 2, 0)])
    assert (found.text, found.tokens, found.speaker) == (" good morning", (1, 2), "A")


def test_word_is_whose_turn_shares_the_most_of_it() -> None:
    assert who(attribute([spoken("hm")], [Turn(0, 0.4, 0), Turn(0.4, 1, 1)])) == [("B", " hm")]


def test_word_that_nobody_speaks_in_is_the_nearest_ones() -> None:
    found = attribute([spoken("hm", start=5)], [Turn(0, 1, 0), Turn(6.5, 7, 1), Turn(30, 40, 2)])
    assert who(found) == [("B", " hm")]


@pytest.mark.parametrize("island", [1, 2])
def test_one_or_two_words_inside_anothers_sentence_are_that_ones(island: int) -> None:
    text = " ".join(["yes"] * (4 + island))
    found = attribute([spoken(text)], [Turn(0, 2, 0), Turn(2, 2 + island, 1), Turn(2 + island, 4 + island, 0)])
    assert who(found) == [("A", f" {text}")]


def test_three_words_are_no_island() -> None:
    found = attribute([spoken("a b c d e f g")], [Turn(0, 2, 0), Turn(2, 5, 1), Turn(5, 7, 0)])
    assert [one.speaker for one in found] == ["A", "B", "A"]


def test_short_answer_that_is_a_sentence_of_its_own_stays_the_other_ones() -> None:
    found = attribute([spoken("is it here? Yes. we go on")], [Turn(0, 3, 0), Turn(3, 4, 1), Turn(4, 7, 0)])
    assert who(found) == [("A", " is it here?"), ("B", " Yes."), ("A", " we go on")]


def test_words_without_times_are_cut_by_their_letters() -> None:
    found = attribute([Segment(0.0, 4.0, " aaaa bbbb cccc dddd")], [Turn(0, 2, 0), Turn(2, 4, 1)])
    assert who(found) == [("A", " aaaa bbbb"), ("B", " cccc dddd")]
    assert all(one.words is None for one in found)


def test_words_without_times_are_spread_over_what_is_spoken_and_not_over_the_silence_between() -> None:
    segment = Segment(0.0, 609.7, " one moment, please. Here I am back.")
    found = attribute([segment], [Turn(0.5, 4.5, 0), Turn(605.5, 609.5, 1)])
    assert who(found) == [("A", " one moment, please."), ("B", " Here I am back.")]
    assert found[0].end <= 4.5
    assert found[1].start >= 605.5


def test_time_in_which_two_speak_is_spoken_once() -> None:
    found = attribute([Segment(0.0, 8.0, " a b c d e f g h")], [Turn(0, 4, 0), Turn(1, 3, 2), Turn(4, 8, 1)])
    assert who(found) == [("A", " a b c d"), ("B", " e f g h")]


def shared(*said: str) -> tuple[Segment, ...]:
    """A and B in turn say these parts of one segment, 0.25 s a letter, without words' times."""
    ends = [0.25 * len("".join(said[:count])) for count in range(len(said) + 1)]
    turns = [Turn(a, b, number % 2) for number, (a, b) in enumerate(pairwise(ends))]
    return attribute([Segment(0.0, ends[-1], "".join(said))], turns)


@pytest.mark.parametrize(
    "said",
    [
        ("你好，你是谁？", "我是安娜。很高兴认识你。"),
        (" こんにちは、", "はい、元気です。"),
        ("「行きますか？」", "「はい。」"),
        ("今天天气真的非常好我们", "一起去公园里面走走吧好"),
        ("วันนี้อากาศดีมาก", "ผมอยากไปเที่ยวทะเล"),
        ("ฉันชื่อแอนนา", " ยินดีที่ได้รู้จัก"),
        ("我们今天去公园，", "那真的是太好了啊，", "我们下午就去。"),  # more than an island, though it is one clause
    ],
)
def test_speakers_of_a_language_without_spaces_are_told_apart(said: tuple[str, ...]) -> None:
    assert [one.text for one in shared(*said)] == list(said)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (("我们今天", "去公园吧，", "我们下午就去。"), ["我们今天去公园吧，", "我们下午就去。"]),
        (("我们今天去公园吧，", "嗯嗯，", "我们下午就去。"), ["我们今天去公园吧，嗯嗯，我们下午就去。"]),
        (("我想买一个新的iPho", "ne手机因为它比较好看"), ["我想买一个新的iPhone", "手机因为它比较好看"]),
        (("วันนี้อากาศดีมากท", "ี่บ้านเราสบายดี"), ["วันนี้อากาศดีมาก", "ที่บ้านเราสบายดี"]),
    ],
)
def test_what_belongs_together_in_a_language_without_spaces_is_one_speakers(
    said: tuple[str, ...], meant: list[str]
) -> None:
    assert [one.text for one in shared(*said)] == meant


def test_overlap_is_marked_where_two_speak_at_once() -> None:
    turns = [Turn(0, 1, 0), Turn(1, 2, 0, overlap=True), Turn(1, 2, 1, overlap=True)]
    (found,) = attribute([spoken("good morning")], turns)
    assert [word.overlap for word in found.words] == [False, True]


def test_names_stand_for_labels() -> None:
    turns = [Turn(0, 1, 0), Turn(1, 2, 1)]
    found = attribute([spoken("good. morning")], turns, {"A": "Anna"})
    assert [one.speaker for one in found] == ["Anna", "B"]
    assert found[0].words[0].speaker == "Anna"


def test_part_of_a_segment_has_none_of_the_whole_ones_tokens_and_keeps_within_its_bounds() -> None:
    words = (Word(0.8, 2.0, " good.", 0.9), Word(2.0, 3.5, " morning", 0.9), Word(3.0, 4.2, " all", 0.9))
    segment = Segment(1.0, 4.0, " good. morning all", tokens=(1, 2), words=words)
    found = attribute([segment], [Turn(0, 2, 0), Turn(2, 3.2, 1), Turn(3.2, 5, 2)])
    assert [(one.start, one.end, one.tokens) for one in found] == [(1.0, 2.0, ()), (2.0, 3.0, ()), (3.0, 4.0, ())]


@pytest.mark.parametrize(
    ("moments", "meant"),
    [
        ([0.0, 1.0, 2.0, 2.0], [(0.0, 1.9), (1.9, 2.0)]),  # " Yes." at the end
        ([0.0, 0.0, 1.0, 2.0], [(0.0, 0.1), (0.1, 2.0)]),  # at the beginning
        ([0.0, 1.0, 1.0, 2.0], [(0.0, 1.0), (1.0, 1.1), (1.1, 2.0)]),  # between
        ([0.0, 0.0, 0.06, 0.06], [(0.0, 0.02), (0.02, 0.04), (0.04, 0.06)]),  # where there is hardly any time
    ],
)
def test_answer_whose_words_have_no_length_is_long_enough_to_be_seen(
    moments: list[float], meant: list[tuple[float, float]]
) -> None:
    words = tuple(Word(a, b, " Yes." if a == b else " so.", 0.9) for a, b in pairwise(moments))
    segment = Segment(moments[0], moments[-1], "".join(word.word for word in words), words=words)
    turns = [Turn(a - 0.01, b + 0.01, 1) if a == b else Turn(a, b, 0) for a, b in pairwise(moments)]
    assert [(one.start, one.end) for one in attribute([segment], turns)] == meant


def test_turn_that_goes_on_over_shorter_ones_is_still_heard_after_them() -> None:
    found = attribute([spoken("hm", start=5)], [Turn(0, 9, 0), Turn(1, 2, 1)])
    assert who(found) == [("A", " hm")]


def test_word_is_his_who_speaks_in_most_of_it_though_not_at_once() -> None:
    turns = [Turn(0, 0.35, 0), Turn(0.35, 0.65, 1), Turn(0.65, 1, 0), Turn(1, 1.2, 1)]
    assert who(attribute([spoken("hm")], turns)) == [("A", " hm")]


def test_word_after_all_turns_is_the_nearest_ones() -> None:
    assert who(attribute([spoken("hm", start=9)], [Turn(0, 8, 0), Turn(1, 2, 1)])) == [("A", " hm")]


def test_two_who_speak_in_a_quarter_of_a_word_do_not_overlap_in_it() -> None:
    turns = [Turn(0, 0.7, 0), Turn(0.7, 1, 0, overlap=True), Turn(0.7, 1, 1, overlap=True)]
    (found,) = attribute([spoken("hm")], turns)
    assert (found.overlap, found.speaker) == (False, "A")


def test_sentence_ends_before_its_closing_quote() -> None:
    found = attribute([spoken('he says "Yes." we go')], [Turn(0, 2, 0), Turn(2, 3, 1), Turn(3, 5, 0)])
    assert [one.speaker for one in found] == ["A", "B", "A"]


def test_without_turns_nobody_speaks() -> None:
    segments = (spoken("good morning"),)
    assert attribute(segments, []) == segments


def test_labels_go_on_after_z() -> None:
    assert [label(n) for n in (0, 25, 26, 51, 52, 701, 702)] == ["A", "Z", "AA", "AZ", "BA", "ZZ", "AAA"]


turn_lists = st.lists(
    st.tuples(st.integers(0, 30), st.integers(1, 9), st.integers(0, 3), st.booleans()), min_size=1, max_size=20
).map(lambda rows: sorted(Turn(at / 10, (at + tenths) / 10, who, overlap=both) for at, tenths, who, both in rows))
texts = st.lists(st.sampled_from(["yes.", "no", "well,", "hello?", "ah"]), min_size=1, max_size=12).map(" ".join)
lengths = st.lists(st.sampled_from([0.0, 0.0, 0.1, 0.3]), min_size=12, max_size=12)


@settings(deadline=None)
@given(text=texts, start=st.sampled_from([0.0, 0.4]), lengths=lengths, turns=turn_lists, timed=st.booleans())
def test_no_word_is_lost_moved_or_left_without_a_speaker(
    text: str, start: float, lengths: list[float], turns: list[Turn], timed: bool
) -> None:
    ends = [round(start + end, 3) for end in accumulate(lengths)]
    words = tuple(Word(a, b, f" {word}", 0.9) for a, b, word in zip([start, *ends], ends, text.split(), strict=False))
    segment = Segment(start, max(words[-1].end, start + 0.1), f" {text}", words=words if timed else None)
    found = attribute([segment], turns)
    assert "".join(one.text for one in found) == segment.text
    assert {one.speaker for one in found} <= {label(turn.speaker) for turn in turns}
    assert (found[0].start, found[-1].end) == (segment.start, segment.end)
    assert all(one.end > one.start for one in found)
    assert all(a.end <= b.start and a.speaker != b.speaker for a, b in pairwise(found))
    if timed:
        assert [word.word for one in found for word in one.words] == [word.word for word in segment.words]


@settings(deadline=None)
@given(text=st.text(st.sampled_from("好的，。？！「」…ー々ทีเ่ກ ab1.,-'—\n")), turns=turn_lists)
def test_nothing_is_lost_of_any_script(text: str, turns: list[Turn]) -> None:
    assert "".join(one.text for one in attribute([Segment(0.0, 3.0, text)], turns)) == text


def test_who_speaks_at_the_same_time_as_another_is_said_so_and_nobody_else() -> None:
    both = [Turn(0, 2, 0, overlap=True), Turn(0, 2, 1, overlap=True), Turn(2, 6, 1)]
    found = attribute([spoken("good morning. hello to all there")], both)
    assert [(one.overlap, [word.overlap for word in one.words or ()]) for one in found] == [
        (True, [True, True]), (False, [False] * 4),
    ]  # fmt: skip
