"""
Languages: `python -m bench.speech.languages --each 10 --cut`.

English and German by voices that the demo model was never trained on, spliced every so many seconds, through the
worker's windows and engine with `multilingual=true`: the share of windows that are told right. A window in which both
are spoken counts apart, as right for either. With `--cut` every talk is also computed in spans of 60 s, each in two
runs, the second of which goes on in the middle: what is told must be the same. Needs espeak-ng, and
the demo's training packages (torch, scipy).
"""

import argparse
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bench.speech.models import engine_of
from demo.training.espeak import SAMPLE_RATE, Espeak
from demo.training.evaluation_set import TrialKind, make_trials
from tests import sound
from transcription.decoding import Decoding
from transcription.media.audio import Samples
from transcription.media.recording import Recording
from transcription.spans import Piece, Span, pieces, windows
from worker.audio.speech import detect_speech
from worker.audio.windows import Window
from worker.engines.base import Engine

BLOCKS_S = (20, 45, 90)
BLOCKS = 6
HEADINGS = (
    *("a block", "talks", "windows in one language", "told right", "windows in two", "told as one of them"),
    "told otherwise when resumed",
)
PURE = 0.9
SPAN_S = 60.0


@dataclass(frozen=True, slots=True)
class Talk:
    """A recording, and where which language is spoken in it."""

    audio: Samples
    blocks: tuple[tuple[Span, str], ...]

    def share(self, stretches: Sequence[Span]) -> dict[str, float]:
        """Of a window's speech, the share of each language."""
        seconds = {"en": 0.0, "de": 0.0}
        for stretch in stretches:
            for block, language in self.blocks:
                seconds[language] += max(0.0, min(stretch.end, block.end) - max(stretch.start, block.start))
        total = sum(seconds.values()) or 1.0
        return {language: part / total for language, part in seconds.items()}


@dataclass(slots=True)
class Score:
    """Windows in one language and in two, and those told right; ``moved``: told otherwise where spans were cut."""

    pure: int = 0
    right: int = 0
    mixed: int = 0
    likely: int = 0
    resumed: int = 0
    moved: int = 0
    wrong: list[str] = field(default_factory=list)


def talk(speaker: Espeak, seed: int, block_s: float) -> Talk:
    """A talk of a few blocks in turns, the first in either language."""
    rng = random.Random(f"{seed}/{block_s}")
    parts, blocks, at = [], [], 0.0
    order = ["en", "de"] if rng.random() < 0.5 else ["de", "en"]
    for number in range(BLOCKS):
        language = order[number % 2]
        kind = TrialKind(
            1,
            duration_s=block_s + 2,
            language=language,
            noise=rng.choice((0.0, 0.003)),
            first_seed=rng.randrange(10**6),
        )
        (trial,) = make_trials(speaker, kind)
        parts.append(trial.audio)
        seconds = trial.audio.size / SAMPLE_RATE
        blocks.append((Span(at, at + seconds), language))
        at += seconds
    return Talk(np.concatenate(parts), tuple(blocks))


def told(
    engine: Engine, recording: Recording, piece: Piece, before: str, *, resumed: bool = False
) -> tuple[list[str], list[list[Span]]]:
    """The language of each window of a piece; *resumed*: in two runs."""
    groups, found = windows(piece.speech), []
    halves = [groups[: len(groups) // 2], groups[len(groups) // 2 :]] if resumed else [groups]
    for half in halves:
        written = engine.transcribe(
            (Window.joined(group, recording.cut) for group in half),
            Decoding(multilingual=True, beam_size=1),
            language=found[-1] if found else before,
            owner="talk",
            cancelled=lambda: False,
            told=found.append,
        )
        for _ in written:
            pass
    return found, groups


def score(engine: Engine, one: Talk, into: Score, *, cut: bool) -> None:
    """Add a talk's windows to *into*."""
    recording = sound.recording(one.audio)
    speech = detect_speech(recording)
    first = engine.detect_language(Window.joined(windows(speech)[0], recording.cut).samples)[0]
    whole = Piece(Span(0, recording.duration_s), tuple(speech))
    for language, group in zip(*told(engine, recording, whole, first), strict=True):
        shares = one.share(group)
        main = max(shares, key=lambda code: shares[code])
        if shares[main] >= PURE:
            into.pure += 1
            into.right += language == main
            into.wrong += [] if language == main else [f"{main} at {group[0].start:.0f} s told {language}"]
        else:
            into.mixed += 1
            into.likely += shares.get(language, 0.0) > 1 - PURE
    if cut:
        for piece in pieces(speech, recording.duration_s, target_s=SPAN_S):
            straight, _ = told(engine, recording, piece, first)
            halves, _ = told(engine, recording, piece, first, resumed=True)
            into.moved += sum(a != b for a, b in zip(straight, halves, strict=True))
            into.resumed += len(straight)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=10, help="talks of each length of blocks")
    parser.add_argument("--seed", type=int, default=3000)
    parser.add_argument("--cut", action="store_true")
    args = parser.parse_args()
    speaker = Espeak()
    print(f"| {' | '.join(HEADINGS)} |")
    print("|---" * len(HEADINGS) + "|")
    with tempfile.TemporaryDirectory() as folder:
        engine = engine_of(Path(folder), "demo")
        for block_s in BLOCKS_S:
            found = Score()
            for number in range(args.each):
                score(engine, talk(speaker, args.seed + number, block_s), found, cut=args.cut)
            print(_row(block_s, args.each, found), *found.wrong, sep="\n")


def _row(block_s: float, talks: int, found: Score) -> str:
    share = f" ({found.right / found.pure:.1%})" if found.pure else ""
    moved = f"{found.moved} of {found.resumed}" if found.resumed else ""
    cells = [f"{block_s} s", talks, found.pure, f"{found.right}{share}", found.mixed, found.likely, moved]
    return f"| {' | '.join(map(str, cells))} |"


if __name__ == "__main__":
    main()
