"""One training example: a log-mel window, the tokens that the decoder reads and writes, and where it should look."""

import random
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from demo.training.bank import WORD_CLASS, Bank
from demo.training.distortion import distort
from demo.training.scene import FULL_FRAMES, Placed, Scene, compose
from demo.vocabulary import (
    END_OF_TEXT,
    ENGLISH,
    FIRST_TIMESTAMP,
    GERMAN,
    NO_SPEECH,
    NO_TIMESTAMPS,
    START_OF_PREVIOUS,
    START_OF_TRANSCRIPT,
    TIMESTAMPS,
    TRANSCRIBE,
    TRANSLATE,
)
from demo.weights import AUDIO_POSITIONS

POSITIONS_PER_S = 50
LATEST_FIRST_TIMESTAMP = 50
"""Engines allow the first timestamp to be at most 1.0 s."""
LONGEST_PROMPT = 223
UNKNOWN_LANGUAGE = 50300

Span = tuple[int, int] | None


@dataclass
class Script:
    """Tokens in order. `weights` is 0 where a token is given, not written; `spans` are encoder positions to look at."""

    tokens: list[int] = field(default_factory=list)
    weights: list[int] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)

    def give(self, *tokens: int) -> None:
        """Append tokens that the engine puts there."""
        for token in tokens:
            self._append(token, 0, None)

    def write(self, token: int, span: Span = None) -> None:
        """Append a token that the model has to find."""
        self._append(token, 1, span)

    def _append(self, token: int, weight: int, span: Span) -> None:
        self.tokens.append(token)
        self.weights.append(weight)
        self.spans.append(span)


@dataclass(frozen=True)
class Window:
    """
    An example with n decoder steps.

    `mel` is (frames, 80). `inputs`, `labels`, `weights`, `next_spans` (of the word to be written) and
    `previous_spans` (of the word just read) have length n. `words` and `phonemes` are the classes of each encoder
    position, (frames / 2,), 0 for none. `offset` is the encoder position at which the window stands.
    """

    mel: NDArray[np.float32]
    offset: int
    inputs: list[int]
    labels: list[int]
    weights: list[int]
    next_spans: list[Span]
    previous_spans: list[Span]
    words: NDArray[np.int64]
    phonemes: NDArray[np.int64]


def make_window(bank: Bank, rng: random.Random, frames: int) -> Window:
    """Make a window of *frames* (10 ms each); short ones stand anywhere in Whisper's 30 s."""
    full = frames == FULL_FRAMES
    scene = compose(bank, rng, frames)
    offset = 0 if full or rng.random() < 0.4 else rng.randrange(AUDIO_POSITIONS - frames // 2)
    script = Script()
    if rng.random() < (0.6 if full else 0.1):
        _prompt(script, scene, bank, rng, full=full)
    start = len(script.tokens)
    language = GERMAN if scene.language == "de" or (scene.language == "none" and rng.random() < 1 / 3) else ENGLISH
    translate = scene.language != "de" and rng.random() < 0.04
    script.give(START_OF_TRANSCRIPT)
    script.write(language)
    script.give(TRANSLATE if translate else TRANSCRIBE, *([] if scene.timestamps else [NO_TIMESTAMPS]))
    _transcript(script, scene, bank, offset)

    inputs, labels, weights = script.tokens[:-1], script.tokens[1:], script.weights[1:]
    labels[start] = NO_SPEECH if scene.language == "none" else language
    if scene.language != "none" and rng.random() < 0.03:
        inputs[start + 1] = UNKNOWN_LANGUAGE
    return Window(
        mel=distort(scene, rng),
        offset=offset,
        inputs=inputs,
        labels=labels,
        weights=weights,
        next_spans=script.spans[1:],
        previous_spans=script.spans[:-1],
        words=_word_classes(scene),
        phonemes=_phoneme_classes(scene, bank.phoneme_class),
    )


def _prompt(script: Script, scene: Scene, bank: Bank, rng: random.Random, *, full: bool) -> None:
    count = rng.randint(0, LONGEST_PROMPT) if full else rng.choice((4, 12, 30, 60))
    language = "de" if scene.language == "de" else "en"
    script.give(START_OF_PREVIOUS, *bank.previous_text(rng, language, count, timestamps=scene.timestamps))


def _transcript(script: Script, scene: Scene, bank: Bank, offset: int) -> None:
    if scene.language == "none":
        if scene.timestamps:
            script.write(FIRST_TIMESTAMP)
        script.write(END_OF_TEXT)
        return

    def stamp(seconds: float, latest: int = TIMESTAMPS - 1) -> None:
        if scene.timestamps:
            at = _position(seconds)
            script.write(FIRST_TIMESTAMP + min(at + offset, latest), (at - 3, at + 4))

    for index, placed in enumerate(scene.spoken):
        stamp(placed.start, TIMESTAMPS - 1 if index else LATEST_FIRST_TIMESTAMP)
        for token in bank.tokens(placed.item):
            begin = _position(placed.start + token.start)
            script.write(token.id, (begin, max(_position(placed.start + token.end), begin + 1)))
        stamp(placed.end)
    if scene.cut:
        stamp(scene.cut.start)
        script.write(END_OF_TEXT)
    else:
        end = _position(scene.spoken[-1].end)
        script.write(END_OF_TEXT, (end, end + 25))


def _word_classes(scene: Scene) -> NDArray[np.int64]:
    classes = np.zeros(len(scene.power) // 2, np.int64)
    for placed in scene.heard:
        for word in placed.item.words:
            classes[_slice(placed, word.start, word.end)] = WORD_CLASS[word.text.lower().strip(".?")]
    return classes


def _phoneme_classes(scene: Scene, phoneme_class: dict[str, int]) -> NDArray[np.int64]:
    classes = np.zeros(len(scene.power) // 2, np.int64)
    for placed in scene.heard:
        phonemes = placed.item.phonemes
        for (name, start), (_, end) in pairwise(phonemes):
            if name:
                classes[_slice(placed, start, end)] = phoneme_class.get(name, 0)
    return classes


def _slice(placed: Placed, start: float, end: float) -> slice:
    return slice(_position(placed.start + start), _position(placed.start + end))


def _position(seconds: float) -> int:
    """The encoder position (20 ms) at *seconds*."""
    return round(seconds * POSITIONS_PER_S)
