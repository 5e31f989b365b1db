"""A bank of utterances made by `synthesise`, with their tokens and the classes of their words and phonemes."""

import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from demo.training.bpe import encoding
from demo.training.espeak import SpokenWord
from demo.training.lexicon import WORDS
from demo.training.synthesise import Item
from demo.vocabulary import FIRST_TIMESTAMP, TIMESTAMPS

FULL_STOP, QUESTION_MARK = 13, 30
TAIL_FRAMES = 3
"""Frames of an item that lie after its audio."""

WORD_CLASS = {word: index for index, word in enumerate(sorted({word.lower() for word in WORDS}), start=1)}


@dataclass(frozen=True)
class TimedToken:
    """A text token and the seconds of the utterance in which it is spoken."""

    id: int
    start: float
    end: float


class Bank:
    """Utterances in memory. `phoneme_class` numbers every phoneme that occurs, from 1."""

    def __init__(self, path: Path, phoneme_class: dict[str, int] | None = None) -> None:
        self._mel = np.load(path.with_suffix(".npy"))
        self.items = [_item(row) for row in json.loads(path.with_suffix(".json").read_text())]
        self._tokens = {id(item): _timed_tokens(item) for item in self.items}
        self._by_language: dict[str, list[Item]] = {"en": [], "de": [], "none": []}
        for item in self.items:
            self._by_language[item.language].append(item)
        names = sorted({name for item in self.items for name, _ in item.phonemes if name})
        self.phoneme_class = phoneme_class or {name: index for index, name in enumerate(names, start=1)}

    def pick(self, rng: random.Random, language: str) -> Item:
        """Any utterance in *language*; "none" is noise."""
        return rng.choice(self._by_language[language])

    def power(self, item: Item, first: int = 0, last: int | None = None) -> NDArray[np.float32]:
        """Mel power of frames *first* to *last* of *item*, (frames, 80)."""
        last = item.frames if last is None else last
        rows = self._mel[item.first_frame + first : item.first_frame + last].astype(np.float32)
        return np.power(np.float32(10), rows)

    def tokens(self, item: Item) -> list[TimedToken]:
        """The text tokens of *item* with their times."""
        return self._tokens[id(item)]

    def previous_text(self, rng: random.Random, language: str, count: int, *, timestamps: bool) -> list[int]:
        """The last *count* tokens of a transcript that came before: sentences in order, times rising by window."""
        sequence: list[int] = []
        at = rng.randrange(100)
        while len(sequence) < count:
            item = self.pick(rng, language)
            duration = item.frames // 2
            if at + duration >= TIMESTAMPS:
                at = rng.randrange(50)
            text = [token.id for token in self.tokens(item)]
            if timestamps:
                end = min(TIMESTAMPS - 1, at + duration)
                text = [FIRST_TIMESTAMP + at, *text, FIRST_TIMESTAMP + end]
            sequence += text
            at += duration + rng.randrange(5, 120)
        return sequence[len(sequence) - count :]


def _item(row: dict[str, object]) -> Item:
    words, phonemes = row.pop("words"), row.pop("phonemes")
    return Item(
        words=tuple(SpokenWord(**word) for word in words),  # type: ignore[attr-defined]
        phonemes=tuple((name, start) for name, start in phonemes),  # type: ignore[attr-defined]
        **row,  # type: ignore[arg-type]
    )


def _timed_tokens(item: Item) -> list[TimedToken]:
    tokens: list[TimedToken] = []
    for word in item.words:
        ids = encoding().encode(f" {word.text}")
        body = [identifier for identifier in ids if identifier not in (FULL_STOP, QUESTION_MARK)]
        share = (word.end - word.start) / len(body)
        tokens += [
            TimedToken(identifier, word.start + share * index, word.start + share * (index + 1))
            for index, identifier in enumerate(body)
        ]
        tokens += [TimedToken(identifier, word.end - 0.06, word.end + 0.08) for identifier in ids[len(body) :]]
    return tokens
