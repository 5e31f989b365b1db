"""
What `fast_short` saves and costs: CPU time and word errors.
`python -m bench.engines.fast_short --size base --clips 48`.

Clips of several lengths go through the engine one after the other, in full and in their own length by turns.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import demo
from bench.speech.corpus import Clip, clips, word_errors
from transcription.media.audio import RATE
from transcription.media.codecs.decode import decode
from transcription.options import Decoding
from transcription.settings import Settings
from transcription.spans import Span
from worker.audio.windows import Window
from worker.engines import faster_whisper


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="base", help="tiny, base, small, … or demo")
    parser.add_argument("--clips", type=int, default=48)
    parser.add_argument("--seconds", type=float, nargs="+", default=[4.0, 10.0, 18.0])
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        model = demo.export_ct2(Path(scratch) / "model", None if asked.size == "demo" else asked.size)
        engine = faster_whisper.load("bench", model, Settings(data_dir=Path(scratch) / "data"))
        print(f"encoder: {engine.encoder}")
        print("| clips of | in full, CPU ms | own length, CPU ms | × | word errors in full | in own length |")
        print("|---|---|---|---|---|---|")
        for seconds in asked.seconds:
            recordings = clips(Path(scratch) / f"{seconds:g}", asked.clips, seconds, seed=11)
            print(row(engine, recordings, seconds), flush=True)
        engine.close()


def row(engine: faster_whisper.FasterWhisper, recordings: list[Clip], seconds: float) -> str:
    """One line of the table."""
    spent: dict[bool, list[float]] = {False: [], True: []}
    texts: dict[bool, list[str]] = {False: [], True: []}
    for clip in recordings:
        samples = decode(clip.path, limit_s=30)
        for short in (False, True):
            window = Window.collect([Span(0, samples.size / RATE)], samples)
            decoding = Decoding(language="en", fast_short=short)
            began = time.process_time()
            (found,) = engine.transcribe([window], decoding, language="en", owner=clip.path.stem, cancelled=bool)
            spent[short].append(1000 * (time.process_time() - began))
            texts[short].append(" ".join(segment.text for segment in found))
    full, own = (statistics.median(spent[short]) for short in (False, True))
    errors = " | ".join(_errors(texts[short], recordings) for short in (False, True))
    return f"| {seconds:g} s | {_range(spent[False])} | {_range(spent[True])} | {full / own:.2f} | {errors} |"


def _errors(texts: list[str], recordings: list[Clip]) -> str:
    wrong = words = 0
    for text, clip in zip(texts, recordings, strict=True):
        errors, said = word_errors(clip.text, text)
        wrong, words = wrong + errors, words + said
    return f"{wrong} of {words:,}"


def _range(values: list[float]) -> str:
    return f"{statistics.median(values):.0f} ({min(values):.0f}–{max(values):.0f})"


if __name__ == "__main__":
    main()
