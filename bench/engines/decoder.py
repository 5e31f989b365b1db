"""
CTranslate2's decoder on a CPU: time of a step, and how far that is from the memory's.
`python -m bench.engines.decoder`.

Every row writes a fixed number of tokens (its end is suppressed), so that steps can be counted. What a step must read
is its weights once, and each window's keys and values of cross attention once for its beams; the memory's speed is that
of one thread that sums a block larger than the caches. Both cores' threads are bound to the share that one replica has.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import ctranslate2
import numpy as np
from faster_whisper.transcribe import get_ctranslate2_storage

import demo
from worker.engines.model_bin import ModelBin

STEPS = 40
ROUNDS = 5
END = 50257
START = [50258, 50259, 50359]
WITHOUT_TIMES = 50363
POSITIONS = 1500


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="base", help="tiny, base, small, …")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        directory = demo.export_ct2(Path(scratch), asked.size)
        model = ctranslate2.models.Whisper(str(directory), compute_type="int8", intra_threads=1)
        weights, layers, width = _sizes(directory)
        speed = _bytes_a_second()
        print(f"{asked.size}: decoder {weights / 1e6:.0f} MB in int8; memory {speed / 1e9:.1f} GB/s for one thread")
        print(
            "| windows × beams | timestamps | CPU ms a step, median (range) | MB it must read | × the memory's time |"
        )
        print("|---|---|---|---|---|")
        for windows, beams, timed in [
            (1, 1, True), (1, 5, True), (1, 5, False), (4, 1, True), (4, 5, True), (4, 5, False), (8, 5, True),
        ]:  # fmt: skip
            spent = _step_ms(model, windows, beams, width, timed=timed)
            needed = weights + windows * POSITIONS * width * 2 * layers * 4
            least = 1000 * needed / speed
            median = statistics.median(spent)
            print(
                f"| {windows} × {beams} | {'yes' if timed else 'no'} "
                f"| {median:.1f} ({min(spent):.1f}–{max(spent):.1f}) "
                f"| {needed / 1e6:.0f} | {median / least:.1f} |",
                flush=True,
            )


def _sizes(directory: Path) -> tuple[int, int, int]:
    """Bytes of the decoder's weights in int8, its layers, and its width."""
    held = ModelBin(directory / "model.bin")
    names = [name for name in held.names() if name.startswith("decoder/")]
    layers = len({name.split("/")[1] for name in names if name.startswith("decoder/layer_")} - {"layer_norm"})
    matrices = [held.raw(name).shape for name in names if name.endswith("/weight") and held.raw(name).ndim == 2]
    width = len(held.raw("decoder/layer_norm/gamma"))
    return sum(rows * columns for rows, columns in matrices), layers, width


def _step_ms(model: ctranslate2.models.Whisper, windows: int, beams: int, width: int, *, timed: bool) -> list[float]:
    encoded = np.random.default_rng(0).normal(size=(windows, POSITIONS, width)).astype(np.float32)
    prompt = START if timed else [*START, WITHOUT_TIMES]
    spent = []
    for _ in range(ROUNDS + 1):
        began = time.process_time()
        model.generate(
            get_ctranslate2_storage(encoded), [prompt] * windows, beam_size=beams, suppress_tokens=[END],
            max_length=len(prompt) + STEPS,
        )  # fmt: skip
        spent.append(1000 * (time.process_time() - began) / STEPS)
    return spent[1:]


def _bytes_a_second() -> float:
    block = np.ones(1 << 27, np.float32)  # 512 MB
    took = []
    for _ in range(4):
        began = time.perf_counter()
        block.sum()
        took.append(time.perf_counter() - began)
    return block.nbytes / min(took[1:])


if __name__ == "__main__":
    main()
