"""Segments from words: where a text that was written without timestamps is cut."""

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

LONGEST_S = 20.0
PAUSE_S = 1.0
ENDS = ".!?。！？…"
CLOSING = "\"'”’»)]}」』"
OPENING = "“‘«([{「『¿¡-—–"
ABBREVIATIONS = frozenset({"mr", "mrs", "ms", "dr", "prof", "st", "vs", "etc", "bzw", "ca"})
_LETTERS_WITH_DOTS = re.compile(r"([^\W\d_]\.)+[^\W\d_]?\.?")
"""`U.S.`, `z.B.`, `e.g.`, or an initial."""


class TimedWord(NamedTuple):
    """
    A word as the tokenizer has it, with its punctuation and the space before it, and its times in seconds.

    It may be a part of what is written as one: in languages without spaces `3.5` is `3.` and `5`.
    """

    text: str
    start: float
    end: float


def cut(words: Sequence[TimedWord], *, longest_s: float = LONGEST_S, pause_s: float = PAUSE_S) -> list[range]:
    """
    Cut *words* into segments: at the ends of sentences, at pauses, and where a segment would get too long.

    Args:
        words: In order.
        longest_s: What is longer is cut at its longest pause.
        pause_s: Silence between two words that ends a segment in the middle of a sentence.

    Returns:
        Ranges of words, one after another, that cover all of them; none is empty.
    """
    starts = [0]
    said = ""
    for number, word in enumerate(words):
        if number and (word.start - words[number - 1].end >= pause_s or _ends_sentence(said, word.text)):
            starts.append(number)
        said = word.text if word.text[:1].isspace() else said + word.text
    sentences = [range(a, b) for a, b in zip(starts, [*starts[1:], len(words)], strict=True) if b > a]
    return [part for sentence in sentences for part in _shortened(words, sentence, longest_s)]


def _ends_sentence(text: str, following: str) -> bool:
    """Whether a sentence ends with *text*, all that was written since the last space, and before the next word."""
    said = text.strip().rstrip(CLOSING)
    if not said or said[-1] not in ENDS or (following and following[0] in CLOSING):
        return False
    if said[-1] != ".":
        return True
    said = said.lstrip(CLOSING + OPENING)
    is_short = said.rstrip(ENDS).lower() in ABBREVIATIONS or _LETTERS_WITH_DOTS.fullmatch(said)
    is_lower = following.strip().lstrip(CLOSING + OPENING)[:1].islower()
    return following[:1].isspace() and not is_short and not is_lower


def _shortened(words: Sequence[TimedWord], part: range, longest_s: float) -> Iterator[range]:
    """*part*, cut at its longest pause as often as it is too long; commas count as pauses."""
    if len(part) < 2 or words[part[-1]].end - words[part[0]].start <= longest_s:
        yield part
        return
    middle = (words[part[0]].start + words[part[-1]].end) / 2

    def fitness(number: int) -> tuple[float, bool, float]:
        before, word = words[number - 1], words[number]
        pause = round(word.start - before.end, 1)
        return pause, before.text.rstrip(CLOSING)[-1:] in {",", ";", ":", "，", "、"}, -abs(word.start - middle)

    at = max(part[1:], key=fitness)
    yield from _shortened(words, range(part.start, at), longest_s)
    yield from _shortened(words, range(at, part.stop), longest_s)


def pieces_of_words(
    piece: dict[str, Any], timed: Sequence[dict[str, Any]], *, keep_words: bool
) -> list[dict[str, Any]]:
    """
    Cut a window's one *piece*, as faster-whisper has it after its words were timed, into one for each segment.

    Args:
        timed: The words that it was given for that, with their tokens; what was joined to its neighbour is empty.
        keep_words: Whether words' times were asked for, and not only needed here.
    """
    words = piece["words"]
    if not words:
        return [piece] if keep_words else [{name: value for name, value in piece.items() if name != "words"}]
    spelt = accumulate(len(word["tokens"]) for word in timed)
    ends = [end for word, end in zip(timed, spelt, strict=True) if word["word"]]
    ends[-1] = len(piece["tokens"])
    pieces = []
    for part in cut([TimedWord(word["word"], word["start"], word["end"]) for word in words]):
        said = words[part.start : part.stop]
        tokens = piece["tokens"][ends[part.start - 1] if part.start else 0 : ends[part.stop - 1]]
        cut_out = {"seek": piece["seek"], "start": said[0]["start"], "end": said[-1]["end"], "tokens": tokens}
        pieces.append(cut_out | ({"words": said} if keep_words else {}))
    return pieces
