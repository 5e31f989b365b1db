"""
Segments from words beside the model's own timestamps: `python -m bench.speech.segmentation --times 2`.

The same recordings both ways, through speech detection, windows and the engine, words' times asked for: by voices that
the demo model was never trained on, with noise, long ones, German, those that come with the demo, and noise in which
nobody speaks. Needs espeak-ng, and the demo's training packages (torch, scipy).
"""

import argparse
import random
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

import demo
from bench.speech.models import engine_of
from demo.training.espeak import SAMPLE_RATE, Espeak
from demo.training.evaluation_set import KINDS, make_trials
from demo.training.noise import make_noise
from demo.training.score import edit_distance, plain_words
from transcription.media.audio import Samples
from transcription.media.codecs.decode import decode
from transcription.options import Decoding, Segmentation
from transcription.spans import Span, windows
from transcription.transcript import Segment
from worker.audio.speech import detect_speech
from worker.audio.windows import Window
from worker.engines.base import Engine

WAYS = (Segmentation.TIMESTAMPS, Segmentation.WORDS)
NEAR_S = 0.5
LOST_S = 1.5
NGRAM = 5
NOISES = 20
NOISE_S = 12.0
UNDETECTED = "the same without speech detection"
HEADINGS = (
    "recordings", "way", "word errors", "empty", "repeated", "ends lost", "segments (sentences)",
    "bounds within 0.5 s", "longest segment, s", "words' starts off, s (p95)", "steps",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Talk:
    """A recording and what is said in it: sentences as (text, start, end), and when each word starts."""

    audio: Samples
    language: str
    sentences: tuple[tuple[str, float, float], ...]
    words: tuple[float, ...] = ()


@dataclass(slots=True)
class Tally:
    """Sums over recordings."""

    talks: int = 0
    errors: int = 0
    words: int = 0
    empty: int = 0
    repeated: int = 0
    lost_s: list[float] = field(default_factory=list)
    segments: int = 0
    sentences: int = 0
    near: int = 0
    bounds: int = 0
    longest_s: float = 0.0
    starts_off_s: list[float] = field(default_factory=list)
    steps: int = 0


def talks(speaker: Espeak, times: int) -> Iterator[tuple[str, list[Talk]]]:
    """Every kind of recording."""
    for name, kind in KINDS.items():
        made = make_trials(speaker, replace(kind, count=kind.count * times))
        yield name, [
            Talk(
                trial.audio, trial.language, tuple((s.text, s.start, s.end) for s in trial.sentences),
                tuple(word.start for s in trial.sentences for word in s.words),
            )
            for trial in made
        ]  # fmt: skip
    yield "the demo's samples", [
        Talk(
            decode(sample.path, limit_s=1e4), sample.language or "en",
            tuple((said.text, said.start, said.end) for said in sample.segments),
        )
        for sample in demo.SAMPLES.values() if sample.language
    ]  # fmt: skip
    rng = random.Random(7)
    noises = [Talk(noise(rng), "en", ()) for _ in range(NOISES * times)]
    yield "noise, nobody speaks", noises
    yield UNDETECTED, noises


def noise(rng: random.Random) -> Samples:
    """Tones, rumble and bursts one after the other."""
    parts: list[Samples] = []
    while sum(part.size for part in parts) < NOISE_S * SAMPLE_RATE:
        parts.append(make_noise(rng))
    return np.concatenate(parts)[: int(NOISE_S * SAMPLE_RATE)]


def heard(engine: Engine, talk: Talk, way: Segmentation, *, detected: bool = True) -> list[Segment]:
    """The recording's segments; *detected*: of what speech detection found, else of all of it."""
    speech = detect_speech(talk.audio) if detected else [Span(0, talk.audio.size / SAMPLE_RATE)]
    written = engine.transcribe(
        [Window.collect(group, talk.audio) for group in windows(speech)],
        Decoding(segmentation=way, word_timestamps=True),
        language=talk.language,
        owner="bench",
        cancelled=lambda: False,
    )
    return [segment for segments in written for segment in segments]


def count(talk: Talk, segments: Sequence[Segment], into: Tally) -> None:
    """Add a recording's segments to *into*."""
    said = plain_words(" ".join(text for text, _, _ in talk.sentences))
    found = plain_words(" ".join(segment.text for segment in segments))
    into.talks += 1
    into.errors += edit_distance(said, found)
    into.words += len(said)
    into.repeated += _repeats(found, said)
    into.segments += len(segments)
    into.sentences += len(talk.sentences)
    into.longest_s = max([into.longest_s, *(segment.end - segment.start for segment in segments)])
    if not talk.sentences:
        into.empty += bool(found)
        return
    into.empty += not found
    into.lost_s += _lost(talk, segments)
    theirs = [bound for _, start, end in talk.sentences for bound in (start, end)]
    ours = [bound for segment in segments for bound in (segment.start, segment.end)]
    into.near += sum(any(abs(one - other) <= NEAR_S for other in theirs) for one in ours)
    into.bounds += len(ours)
    starts = [word.start for segment in segments for word in segment.words or ()]
    if len(starts) == len(talk.words):
        into.starts_off_s += [abs(a - b) for a, b in zip(starts, talk.words, strict=True)]


def _repeats(found: Sequence[str], said: Sequence[str]) -> int:
    """Runs of five words that are written more often than they were said."""
    counts = [Counter(zip(*(words[n:] for n in range(NGRAM)), strict=False)) for words in (found, said)]
    return sum((Counter({run: n - 1 for run, n in counts[0].items()}) - counts[1]).values())


def _lost(talk: Talk, segments: Sequence[Segment]) -> list[float]:
    """Seconds at the end in which somebody speaks and nothing is written, if they are many enough to be words."""
    last = max((segment.end for segment in segments), default=0.0)
    seconds = sum(max(0.0, end - max(start, last)) for _, start, end in talk.sentences)
    return [seconds] if segments and seconds > LOST_S else []


def row(name: str, way: Segmentation, tally: Tally) -> str:
    """One line of the table."""
    speechless = not tally.sentences
    off = tally.starts_off_s
    cells = (
        f"{name} ({tally.talks})",
        way.value,
        f"{tally.errors} words made up" if speechless else f"{tally.errors} of {tally.words}",
        f"text in {tally.empty}" if speechless else str(tally.empty),
        str(tally.repeated),
        f"{len(tally.lost_s)} ({sum(tally.lost_s):.1f} s)" if not speechless else "–",
        f"{tally.segments} ({tally.sentences})",
        f"{100 * tally.near / tally.bounds:.1f} %" if tally.bounds else "–",
        f"{tally.longest_s:.1f}",
        f"{np.median(off):.3f} ({np.percentile(off, 95):.3f})" if off else "–",
        f"{tally.steps}",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=2, help="as many recordings of each kind as demo.evaluate has")
    parser.add_argument("--size", default="demo", help="demo, or tiny, base, … for the same words at that cost")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        engine = engine_of(Path(folder), asked.size)
        print(f"| {' | '.join(HEADINGS)} |\n|{'---|' * len(HEADINGS)}")
        for name, given in talks(Espeak(), asked.times):
            for way in WAYS:
                tally, before = Tally(), engine.steps
                for talk in given:
                    count(talk, heard(engine, talk, way, detected=name != UNDETECTED), tally)
                tally.steps = engine.steps - before
                print(row(name, way, tally), flush=True)
        engine.close()


if __name__ == "__main__":
    main()
