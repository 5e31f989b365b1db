"""How well what an engine heard matches what was said."""

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from demo.training.espeak import SAMPLE_RATE, SpokenWord
from demo.training.evaluation_set import Trial

_NOT_A_WORD = re.compile(r"[^a-zäöüß' ]")


@dataclass(frozen=True)
class Heard:
    """An engine's answer: `segments` and `words` with times in seconds (no words unless asked for)."""

    segments: Sequence[SpokenWord]
    words: Sequence[SpokenWord]


Listener = Callable[[NDArray[np.float32]], Heard]


@dataclass
class Score:
    """Sums over trials. Times are compared only where an engine found as many segments, or words, as were said."""

    errors: int = 0
    words: int = 0
    audio_s: float = 0
    compute_s: float = 0
    boundary_errors_s: list[float] = field(default_factory=list)
    word_errors_s: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        text = f"{100 * self.errors / self.words:.2f} % ({self.errors} of {self.words}), "
        text += f"RTF {self.compute_s / self.audio_s:.4f}"
        for name, errors in (("segment times", self.boundary_errors_s), ("word starts", self.word_errors_s)):
            if errors:
                text += f", {name} off by {np.mean(errors):.3f} s (p95 {np.percentile(errors, 95):.3f})"
        return text


def score(listen: Listener, trials: Iterable[Trial]) -> Score:
    """Let an engine listen to *trials* and count."""
    total = Score()
    for trial in trials:
        began = time.perf_counter()
        heard = listen(trial.audio)
        total.compute_s += time.perf_counter() - began
        total.audio_s += len(trial.audio) / SAMPLE_RATE
        reference = plain_words(" ".join(sentence.text for sentence in trial.sentences))
        total.errors += edit_distance(reference, plain_words(" ".join(part.text for part in heard.segments)))
        total.words += len(reference)
        if len(heard.segments) == len(trial.sentences):
            for found, said in zip(heard.segments, trial.sentences, strict=True):
                total.boundary_errors_s += [abs(found.start - said.start), abs(found.end - said.end)]
        spoken = [word for sentence in trial.sentences for word in sentence.words]
        if len(heard.words) == len(spoken):
            total.word_errors_s += [
                abs(found.start - said.start) for found, said in zip(heard.words, spoken, strict=True)
            ]
    return total


def plain_words(text: str) -> list[str]:
    """The words of *text* in lower case, without punctuation."""
    return _NOT_A_WORD.sub("", text.lower()).split()


def edit_distance(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """The fewest words to insert, delete or replace."""
    row = list(range(len(hypothesis) + 1))
    for i, said in enumerate(reference, start=1):
        diagonal, row[0] = row[0], i
        for j, found in enumerate(hypothesis, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (said != found))
    return row[-1]
