"""
Encoders side by side: word errors, equal tokens and CPU time.
`python -m bench.engines.encoders --size base --clips 200`.

Each clip's window is encoded by every encoder in turn and decoded by CTranslate2 (int8, beam 5), in one thread.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_ctranslate2_storage

import demo
from bench.speech.corpus import clips, word_errors
from transcription.media.codecs.decode import decode
from worker.engines.encoders.ctranslate2 import CTranslate2Encoder
from worker.engines.encoders.openvino import OpenVinoEncoder, Plan

REFERENCE = "CTranslate2 float32"
FRAMES = 3000
BATCH = 4

Encode = Callable[[Any], Any]


def encoders(model: Path, cache: Path) -> dict[str, Encode]:
    """By name; the first is the one that others are held to."""
    found: dict[str, Encode] = {
        f"CTranslate2 {kind}": CTranslate2Encoder(
            ctranslate2.models.Whisper(str(model), compute_type=kind, intra_threads=1)
        ).encode
        for kind in ("float32", "int8")
    }
    return found | {
        f"OpenVINO {precision}": OpenVinoEncoder(model, Plan(precision, 1, 1), cache).encode
        for precision in ("f32", "bf16", "int8")
    }


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="base", help="tiny, base, small, … or demo")
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=10.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        model = demo.export_ct2(Path(scratch) / "model", None if asked.size == "demo" else asked.size)
        recordings = clips(Path(scratch) / "clips", asked.clips, asked.seconds, seed=7)
        rows = measure(model, Path(scratch) / "cache", [clip.path for clip in recordings])
        report([clip.text for clip in recordings], rows)


def measure(model: Path, cache: Path, paths: list[Path]) -> dict[str, list[tuple[float, list[int], str]]]:
    """CPU seconds of the encoder, tokens and text of every clip, by encoder."""
    whisper = WhisperModel(str(model), device="cpu", compute_type="int8", cpu_threads=1)
    tokenizer = Tokenizer(whisper.hf_tokenizer, True, task="transcribe", language="en")
    rows: dict[str, list[tuple[float, list[int], str]]] = {name: [] for name in encoders(model, cache)}
    by_name = encoders(model, cache)
    for start in range(0, len(paths), BATCH):
        features = [_features(whisper, path) for path in paths[start : start + BATCH]]
        for name, encode in by_name.items():
            spent, encoded = [], []
            for window in features:
                began = time.process_time()
                encoded.append(np.asarray(encode(window), np.float32))
                spent.append(time.process_time() - began)
            found = whisper.model.generate(
                get_ctranslate2_storage(np.concatenate(encoded)), [list(tokenizer.sot_sequence)] * len(features),
                beam_size=5,
            )  # fmt: skip
            for seconds, result in zip(spent, found, strict=True):
                tokens = result.sequences_ids[0]
                rows[name].append((seconds, tokens, tokenizer.decode([t for t in tokens if t < tokenizer.eot])))
    return rows


def _features(whisper: WhisperModel, path: Path) -> Any:
    found = whisper.feature_extractor(decode(path, limit_s=1e4))[:, :FRAMES]
    return np.pad(found, ((0, 0), (0, FRAMES - found.shape[-1])))[np.newaxis].astype(np.float32)


def report(texts: list[str], rows: dict[str, list[tuple[float, list[int], str]]]) -> None:
    """The table, as Markdown."""
    print("| encoder | CPU ms a window, median (range) | × CTranslate2 int8 | word errors | same tokens as float32 |")
    print("|---|---|---|---|---|")
    own = statistics.median(seconds for seconds, _, _ in rows["CTranslate2 int8"])
    for name, found in rows.items():
        times = [1000 * seconds for seconds, _, _ in found]
        errors = [word_errors(wanted, got) for wanted, (_, _, got) in zip(texts, found, strict=True)]
        wrong, words = (sum(column) for column in zip(*errors, strict=True))
        same = sum(a[1] == b[1] for a, b in zip(found, rows[REFERENCE], strict=True))
        print(
            f"| {name} | {statistics.median(times):.0f} ({min(times):.0f}–{max(times):.0f}) "
            f"| {1000 * own / statistics.median(times):.2f} | {wrong} of {words} ({wrong / words:.2%}) "
            f"| {same} of {len(found)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
