"""
Windows of several jobs in one batch of MLX's decoder, against one at a time:
`python -m bench.engines.mlx_batches --size tiny`.

The encoder takes windows one at a time in either case on a CPU; its time stands beside.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.fast_matrices import lend_mlx_fast_matrices

lend_mlx_fast_matrices()

import mlx.core as mx  # noqa: E402  BLAS had to be lent first
import numpy as np  # noqa: E402
from faster_whisper.audio import pad_or_trim  # noqa: E402
from faster_whisper.tokenizer import Tokenizer  # noqa: E402
from faster_whisper.transcribe import get_suppressed_tokens  # noqa: E402

from demo import SAMPLES  # noqa: E402
from demo.mlx import write_mlx  # noqa: E402
from demo.weights import read_weights  # noqa: E402
from demo.widen import widen  # noqa: E402
from transcription.media.codecs.decode import decode  # noqa: E402
from transcription.settings import Mlx  # noqa: E402
from transcription.spans import windows  # noqa: E402
from worker.audio.speech import detect_speech  # noqa: E402
from worker.audio.windows import Window  # noqa: E402
from worker.engines.marks import LATEST_FIRST_TIMESTAMP  # noqa: E402
from worker.engines.mlx.engine import MlxWhisper  # noqa: E402
from worker.engines.mlx.model import MlxModel  # noqa: E402
from worker.engines.row import Floats  # noqa: E402


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=["tiny", "base", "small"], help="real dimensions; else the demo model's own")
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 8])
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        whisper = load(Path(directory), asked.size)
        started = time.perf_counter()
        encoded = [whisper.model.encode(features[np.newaxis]) for features in heard(whisper, asked.windows)]
        encoding = time.perf_counter() - started
        ask = asker(whisper)
        texts = [ask(np.concatenate(encoded[:1]))]  # the first call compiles
        taken: dict[int, list[float]] = {size: [] for size in asked.batches}
        for _ in range(asked.rounds):
            for size in asked.batches:
                groups = [np.concatenate(encoded[at : at + size]) for at in range(0, len(encoded), size)]
                started = time.perf_counter()
                texts.append([text for group in groups for text in ask(group)])
                taken[size].append(time.perf_counter() - started)
    same = all(told == texts[1] for told in texts[1:])
    print(
        f"{asked.size or 'demo'}: {len(encoded)} windows, {asked.rounds} rounds; encoded in {encoding:.1f} s; ", end=""
    )
    print("the same tokens in every batch" if same else "TOKENS DIFFER")
    print("\n| batch | decoding, s | one at a time / batch |\n|---|---|---|")
    for size, figures in taken.items():
        ratios = [alone / together for alone, together in zip(taken[asked.batches[0]], figures, strict=True)]
        print(f"| {size} | {spread(figures)} | {spread(ratios)} |")


def load(directory: Path, size: Any) -> MlxWhisper:
    """The demo model in MLX's form, in the dimensions of a real one if *size* says so."""
    weights = read_weights() if size is None else widen(read_weights(), size)
    write_mlx(weights, directory)
    model = MlxModel(directory, device="cpu", compute_type="float32", limits=Mlx())

    def place() -> None:
        # mlx-whisper derives them from the width, and the widened model needs the demo's own.
        model._network.encoder._positional_embedding = mx.array(weights.arrays["audio_positions"])  # noqa: SLF001

    model._owner.call(place)  # noqa: SLF001
    return MlxWhisper(model)


def heard(whisper: MlxWhisper, count: int) -> list[Floats]:
    """Log-mel windows of several recordings, in turn."""
    found: list[Floats] = []
    for name in ("long", "short", "video"):
        samples = decode(SAMPLES[name].path, limit_s=1000)
        parts = (Window.collect(group, samples).samples for group in windows(detect_speech(samples)))
        found += [pad_or_trim(whisper.feature_extractor(part)) for part in parts]
    return (found * count)[:count]


def asker(whisper: MlxWhisper) -> Any:
    """A function from encoded windows to their tokens, greedy as the engine has it."""
    tokenizer = Tokenizer(whisper.hf_tokenizer, multilingual=True, task="transcribe", language="en")
    suppressed = get_suppressed_tokens(tokenizer, [-1])

    def ask(encoded: Floats) -> list[list[int]]:
        rows = whisper.model.generate(
            encoded,
            [list(tokenizer.sot_sequence)] * len(encoded),
            max_length=448,
            suppress_tokens=suppressed,
            max_initial_timestamp_index=LATEST_FIRST_TIMESTAMP,
        )
        return [row.sequences_ids[0] for row in rows]

    return ask


def spread(figures: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(figures):.2f} ({min(figures):.2f}–{max(figures):.2f})"


if __name__ == "__main__":
    main()
