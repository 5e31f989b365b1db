"""
Let many people speak: `python -m demo.training.speakers.synthesise OUT PEOPLE SECONDS`.

Writes OUT.npz: `audio`, (n,) int16 at 16 kHz of all people one after the other, and `bounds`, (people + 1,).
With `--held-out`, voices that training never hears.
"""

import argparse
import multiprocessing
import random
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from demo.training.espeak import SAMPLE_RATE, Espeak
from demo.training.speakers.voices import HELD_OUT_VARIANTS, TRAINED_VARIANTS, Voice

PROCESSES = 2


def main() -> None:
    """Synthesise a bank."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("people", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--held-out", action="store_true")
    args = parser.parse_args()
    variants = HELD_OUT_VARIANTS if args.held_out else TRAINED_VARIANTS
    orders = [(n + 50000 * args.held_out, variants[n % len(variants)], args.seconds) for n in range(args.people)]
    with multiprocessing.Pool(PROCESSES) as pool:
        people = pool.starmap(_speak, orders, chunksize=8)
    bounds = np.cumsum([0, *(len(one) for one in people)])
    np.savez(args.out, audio=np.concatenate(people), bounds=bounds)
    print(f"{len(people)} people, {bounds[-1] / SAMPLE_RATE / 3600:.2f} h")


def _speak(seed: int, variant: str, seconds: float) -> NDArray[np.int16]:
    rng = random.Random(seed)
    voice, speaker, parts, length = Voice.drawn(rng, variant), Espeak(), [], 0
    while length < seconds * SAMPLE_RATE:
        audio = voice.say(speaker, voice.sentence(rng), rng)
        if audio is not None:
            parts += [audio, np.zeros(int(rng.uniform(0, 0.15) * SAMPLE_RATE), np.float32)]
            length += len(parts[-2]) + len(parts[-1])
    joined = np.concatenate(parts)
    return (joined / max(1e-3, np.abs(joined).max()) * 30000).astype(np.int16)


if __name__ == "__main__":
    main()
