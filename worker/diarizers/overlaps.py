"""From who is heard from when to when, in whatever order, to turns that say where two speak at once."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby, pairwise

from transcription.spans import Span
from transcription.speakers import Turn


def turns_of(heard: Iterable[tuple[Span, int]]) -> tuple[tuple[Turn, ...], tuple[int, ...]]:
    """
    Turns, ordered by start, cut where an overlap begins or ends; speakers are numbered as they are first heard.

    Args:
        heard: Stretches with the number of their speaker, any numbers; those of one speaker may touch or overlap.

    Returns:
        The turns, and for each new number the old one.
    """
    stretches = sorted((part, speaker) for part, speaker in heard if part.end > part.start)
    numbers = {speaker: number for number, speaker in enumerate(dict.fromkeys(speaker for _, speaker in stretches))}
    changes: dict[float, Counter[int]] = defaultdict(Counter)
    for part, who in stretches:
        changes[part.start][numbers[who]] += 1
        changes[part.end][numbers[who]] -= 1
    speaking: Counter[int] = Counter()
    pieces = []
    for start, end in pairwise(sorted(changes)):
        speaking.update(changes[start])
        now = [speaker for speaker, times in speaking.items() if times > 0]
        pieces += [Turn(start, end, speaker, overlap=len(now) > 1) for speaker in now]
    turns: list[Turn] = []
    in_order = sorted(pieces, key=lambda turn: (turn.speaker, turn.start))
    for _, own in groupby(in_order, key=lambda turn: turn.speaker):
        for turn in own:
            last = turns[-1] if turns else None
            if last and (last.speaker, last.overlap, last.end) == (turn.speaker, turn.overlap, turn.start):
                turns[-1] = replace(last, end=turn.end)
            else:
                turns.append(turn)
    return tuple(sorted(turns)), tuple(numbers)
