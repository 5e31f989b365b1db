"""
Speak the utterances that training draws from: `python -m demo.training.synthesise OUT ENGLISH GERMAN`.

Writes OUT.npy, (frames, 80) float16 log10 mel power of all utterances, and OUT.json, what and where each one is.
With `--held-out`, voices that training never hears.
"""

import argparse
import json
import multiprocessing
import random
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from demo.training.espeak import NORMAL_RATE_WPM, SAMPLE_RATE, Espeak, SpokenWord
from demo.training.features import log_mel_power
from demo.training.lexicon import isolated_words, sentence
from demo.training.noise import make_noise

ENGLISH_VOICES = ("en-us", "en-us", "en-us", "en", "en", "en-gb-x-rp", "en-gb-scotland")
VARIANTS = (
    *[""] * 6,
    *("m1", "m2", "m3", "m4", "m7", "m8", "f1", "f3", "f4", "f5", "Andy", "Annie", "Alicia", "Mike"),
    *("Michael", "Lee", "adam", "linda", "max", "rob", "steph", "klatt"),
)
HELD_OUT_VARIANTS = ("f2", "m5", "m6", "edward", "belinda")
LONGEST_S = 9
NOISES, HELD_OUT_NOISES = 600, 60
PROCESSES = 2


@dataclass(frozen=True)
class Item:
    """
    One utterance of a bank.

    `language` is "en", "de" or "none" (noise); `words` and `phonemes` have seconds from the utterance's start;
    `first_frame` and `frames` (10 ms) say where it lies in the bank's array.
    """

    text: str
    language: str
    words: tuple[SpokenWord, ...]
    phonemes: tuple[tuple[str, float], ...]
    first_frame: int = 0
    frames: int = 0


@dataclass(frozen=True)
class _Order:
    seed: int
    language: str
    held_out: bool


def main() -> None:
    """Make a bank as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("english", type=int, help="number of English utterances")
    parser.add_argument("german", type=int, help="number of German utterances")
    parser.add_argument("--held-out", action="store_true")
    arguments = parser.parse_args()
    base = 10_000_000 if arguments.held_out else 0
    counts = {
        "en": arguments.english,
        "de": arguments.german,
        "none": HELD_OUT_NOISES if arguments.held_out else NOISES,
    }
    orders = [
        _Order(base + 3_000_000 * group + index, language, arguments.held_out)
        for group, (language, count) in enumerate(counts.items())
        for index in range(count)
    ]
    arrays, items, position = [], [], 0
    with multiprocessing.get_context("fork").Pool(PROCESSES, torch.set_num_threads, (1,)) as pool:
        for made in pool.imap(_make, orders, chunksize=32):
            if made is not None:
                mel, item = made
                items.append(replace(item, first_frame=position, frames=len(mel)))
                arrays.append(mel)
                position += len(mel)
    np.save(arguments.out.with_suffix(".npy"), np.concatenate(arrays))
    arguments.out.with_suffix(".json").write_text(json.dumps([asdict(item) for item in items]))
    print(f"{arguments.out}: {len(items)} utterances, {position / 100 / 3600:.2f} h")


def _make(order: _Order) -> tuple[NDArray[np.float16], Item] | None:
    rng = random.Random(order.seed)
    if order.language == "none":
        return log_mel_power(make_noise(rng)), Item("", "none", (), ())
    english = order.language == "en"
    text = isolated_words(rng) if english and rng.random() < 0.12 else sentence(rng, "en" if english else "de")
    variant = rng.choice(HELD_OUT_VARIANTS if order.held_out else VARIANTS)
    voice = rng.choice(ENGLISH_VOICES) if english else "de"
    plain = rng.random() < 0.3
    utterance = _speaker().say(
        text,
        f"{voice}+{variant}" if variant else voice,
        rate_wpm=NORMAL_RATE_WPM if plain else rng.randint(130, 205),
        pitch=50 if plain else rng.randint(25, 80),
        pitch_range=50 if plain else rng.randint(30, 75),
    )
    if utterance is None or len(utterance.audio) > SAMPLE_RATE * LONGEST_S:
        return None
    item = Item(text, order.language, utterance.words, utterance.phonemes)
    return log_mel_power(utterance.audio), item


@cache
def _speaker() -> Espeak:
    """One for each process of the pool."""
    return Espeak()


if __name__ == "__main__":
    main()
