"""Speakers: who spoke when, and with that whose each word is. Pure: turns and a transcript in, a transcript out."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby

from transcription.spans import Span
from transcription.transcript import Segment, Word

ISLAND_WORDS = 2
"""So few words inside another's sentence are that one's: their times are not that exact."""
LEAST_PART_S = 0.1
"""So long is each part of a segment at least, if there is as much time."""

_ENDS = (".", "?", "!", "…", "。", "？", "！")
_LETTERS = 26

_SCRIPTS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Written without spaces between words: Thai, Lao, Burmese, Khmer, kana, Chinese characters."""
_UNSPACED = re.compile(f"[{_SCRIPTS}]")
_CLAUSE = re.compile("[^。？！，、；：…,?!]*[。？！，、；：…,?!]+[」』”’）]*|[^。？！，、；：…,?!]+")
_LETTER = re.compile(rf"\W*(?:[{_SCRIPTS}]|[^\W{_SCRIPTS}]+)\W*|\W+")
_LONGEST_CLAUSE = 12
"""In letters, two or three seconds: who says more without a mark may be two."""


@dataclass(frozen=True, slots=True, order=True)
class Turn:
    """A stretch in which one speaker speaks, in seconds; ``speaker`` counts from 0, ``overlap``: another does too."""

    start: float
    end: float
    speaker: int
    overlap: bool = False


@dataclass(frozen=True, slots=True)
class Diarized:
    """
    Who speaks when in a recording, and what each voice is like.

    ``embeddings`` are unit vectors by speaker's number, zeros for one whose voice isn't known, and none where the
    diarizer has none; ``threshold`` is the cosine distance up to which two of them are one speaker's.
    """

    turns: tuple[Turn, ...] = ()
    embeddings: tuple[tuple[float, ...], ...] = ()
    threshold: float = 0.0


@dataclass(frozen=True, slots=True)
class _Spoken:
    """A word with its text as it stands, when it was said, and by whom."""

    word: Word
    speaker: int
    overlap: bool


def label(number: int) -> str:
    """What a speaker is called who has no name: A to Z, then AA, AB and so on."""
    letters = ""
    number += 1
    while number:
        number, letter = divmod(number - 1, _LETTERS)
        letters = chr(ord("A") + letter) + letters
    return letters


def attribute(
    segments: Sequence[Segment], turns: Sequence[Turn], names: Mapping[str, str] | None = None
) -> tuple[Segment, ...]:
    """
    Say of every segment and word whose it is.

    A word is that speaker's whose turns share the most of its time, or the nearest one's where nobody's do; one or two
    words inside another's sentence are that one's. Segments are cut where the speaker changes. Where words' times
    weren't asked for, each has a share of the time in which anybody speaks, by its letters.

    Args:
        segments: Ordered by time, in the recording's seconds.
        turns: Ordered by start.
        names: What speakers are called, by their label.

    Returns:
        As many segments or more, the same text; without turns the segments as they are.
    """
    if not turns:
        return tuple(segments)
    called, by_time = names or {}, _Turns(turns)
    return tuple(part for segment in segments for part in _cut(segment, _smoothed(_heard(segment, by_time)), called))


def _heard(segment: Segment, turns: "_Turns") -> list[_Spoken]:
    found = []
    for word in segment.words or _estimated(segment, turns.within(Span(segment.start, segment.end))):
        speaker, overlap = turns.whose(Span(word.start, word.end))
        found.append(_Spoken(word, speaker, overlap))
    return found


def _estimated(segment: Segment, spoken: Sequence[Span]) -> Iterator[Word]:
    """
    A segment's words where their times weren't asked for: each has a part of what is *spoken*, by its letters.

    A word stays in the span that has its middle: between two of them there may be minutes of silence.
    """
    texts = _split(segment.text)
    ends = list(accumulate(span.seconds for span in spoken))
    share = ends[-1] / (sum(map(len, texts)) or 1)
    at = 0.0
    for text in texts:
        length = share * len(text)
        index = min(bisect_left(ends, at + length / 2), len(ends) - 1)
        span, start = spoken[index], spoken[index].end - (ends[index] - at)
        yield Word(max(span.start, start), min(span.end, start + length), text, 1.0)
        at += length


def _split(text: str) -> list[str]:
    """Words with the space before them, so that together they are the text."""
    words: list[str] = []
    for piece in text.split(" "):
        if words:
            words.append(f" {piece}")
        else:
            words.append(piece)
    if len(words) > 1 and not words[0]:
        words.pop(0)
    return [part for word in words for part in _parts(word)]


def _parts(word: str) -> Iterator[str]:
    """A word as it is; of a script without spaces its clauses, and of long ones each letter with its marks."""
    if not _UNSPACED.search(word):
        yield word
        return
    for clause in _CLAUSE.findall(word):
        yield from [clause] if len(clause) <= _LONGEST_CLAUSE else _LETTER.findall(clause)


class _Turns:
    """Turns by time: those around a moment are found without looking at all."""

    def __init__(self, turns: Sequence[Turn]) -> None:
        self._turns = turns
        self._starts = [turn.start for turn in turns]
        self._reached = list(accumulate((turn.end for turn in turns), max))

    def within(self, part: Span) -> list[Span]:
        """When anybody speaks in *part*, in order and disjoint; all of it where nobody does."""
        first, last = bisect_right(self._reached, part.start), bisect_left(self._starts, part.end)
        spoken: list[Span] = []
        at = part.start
        for turn in self._turns[first:last]:
            if min(turn.end, part.end) > max(turn.start, at):
                spoken.append(Span(max(turn.start, at), min(turn.end, part.end)))
                at = spoken[-1].end
        return spoken or [part]

    def whose(self, part: Span) -> tuple[int, bool]:
        """Who speaks in most of *part*, and whether two do in half of it; the nearest one where nobody speaks."""
        first, last = bisect_right(self._reached, part.start), bisect_left(self._starts, part.end)
        shares: dict[int, float] = {}
        both = 0.0
        for turn in self._turns[first:last]:
            shared = min(turn.end, part.end) - max(turn.start, part.start)
            if shared > 0:
                shares[turn.speaker] = shares.get(turn.speaker, 0.0) + shared
                both += shared / 2 if turn.overlap else 0.0
        if not shares:
            around = self._turns[max(0, first - 2) : last + 1]
            nearest = min(around, key=lambda turn: max(turn.start - part.end, part.start - turn.end))
            return nearest.speaker, False
        speaker = max(shares, key=lambda one: shares[one])
        return speaker, both > 0 and both >= part.seconds / 2


def _smoothed(words: list[_Spoken]) -> list[_Spoken]:
    """Without islands: one or two words between words of another, in one sentence."""
    smoothed: list[_Spoken] = []
    for sentence in _sentences(words):
        runs = [list(run) for _, run in groupby(sentence, key=lambda word: word.speaker)]
        for before, run, after in zip(runs, runs[1:], runs[2:], strict=False):
            if _count(run) <= ISLAND_WORDS and before[0].speaker == after[0].speaker:
                run[:] = [replace(word, speaker=before[0].speaker) for word in run]
        smoothed += [word for run in runs for word in run]
    return smoothed


def _count(run: Sequence[_Spoken]) -> int:
    """How many words; two letters are about one in a script without spaces."""
    return sum(max(1, len(_UNSPACED.findall(word.word.word)) // 2) for word in run)


def _sentences(words: Sequence[_Spoken]) -> Iterator[list[_Spoken]]:
    sentence: list[_Spoken] = []
    for word in words:
        sentence.append(word)
        if word.word.word.rstrip("\"')»” ").endswith(_ENDS):
            yield sentence
            sentence = []
    if sentence:
        yield sentence


def _cut(segment: Segment, words: Sequence[_Spoken], names: Mapping[str, str]) -> Iterator[Segment]:
    """One segment for each run of words of one speaker; what judges the whole is said of each part."""
    runs = [list(run) for _, run in groupby(words, key=lambda word: word.speaker)]
    edges = _edges(segment, runs)
    for number, run in enumerate(runs):
        called = _called(run[0].speaker, names)
        spoken = tuple(replace(one.word, speaker=_called(one.speaker, names), overlap=one.overlap) for one in run)
        yield replace(
            segment,
            start=edges[number][0],
            end=edges[number][1],
            text=segment.text if len(runs) == 1 else "".join(one.word.word for one in run),
            tokens=segment.tokens if len(runs) == 1 else (),
            words=spoken if segment.words is not None else None,
            speaker=called,
            overlap=2 * sum(one.overlap for one in run) >= len(run) and any(one.overlap for one in run),
        )


def _edges(segment: Segment, runs: Sequence[Sequence[_Spoken]]) -> list[tuple[float, float]]:
    """
    Where each part of a segment begins and ends; the first and the last keep the segment's own bounds.

    A part whose words have no length takes a little of its neighbours' time: no player would show it.
    """
    least = min(LEAST_PART_S, (segment.end - segment.start) / len(runs))
    heard = (run[0].word.start for run in runs[1:])
    earliest = accumulate(heard, lambda last, start: max(start, last + least), initial=segment.start)
    latest = (segment.end - least * count for count in range(len(runs), 0, -1))
    starts = [round(min(times), 3) for times in zip(earliest, latest, strict=True)]
    starts[0] = segment.start
    ends = [
        round(min(max(run[-1].word.end, start + least), following), 3)
        for run, start, following in zip(runs, starts, starts[1:], strict=False)
    ]
    return list(zip(starts, [*ends, segment.end], strict=True))


def _called(speaker: int, names: Mapping[str, str]) -> str:
    return names.get(label(speaker), label(speaker))
