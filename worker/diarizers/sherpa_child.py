"""The process in which sherpa-onnx runs: JSON and samples in, lines of JSON out; it may die of a model at any time."""

import json
import os
import sys
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
FULL_SCALE = 32768.0
LONGEST_S = 60.0
"""Of a speaker's turns, so much is heard for the embedding."""

Samples = NDArray[np.float32]


def main() -> None:
    """Load the models, then say who speaks when in one recording."""
    source, target = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the library prints is no answer
    try:
        _run(source, target)
    except BrokenPipeError:
        os._exit(1)  # nobody listens any more
    except Exception as error:  # noqa: BLE001  whatever it is, the parent is to hear of it
        _answer(target, error=f"{type(error).__name__}: {error}")


def _run(source: BinaryIO, target: BinaryIO) -> None:
    import sherpa_onnx  # noqa: PLC0415  the extra; a child without it says so

    asked = json.loads(source.readline())
    config = _config(sherpa_onnx, asked, clusters=-1)
    if not config.validate():
        raise ValueError("sherpa-onnx takes no such models")
    diarizer = sherpa_onnx.OfflineSpeakerDiarization(config)
    extractor = sherpa_onnx.SpeakerEmbeddingExtractor(config.embedding)
    _answer(target, ready=True)
    line = source.readline()
    if not line:
        return
    wanted = json.loads(line)
    samples = np.frombuffer(source.read(2 * wanted["samples"]), "<i2").astype(np.float32) / np.float32(FULL_SCALE)

    def progress(done: int, total: int) -> int:
        _answer(target, done=done, total=total)
        return 0

    def search(clusters: int) -> list[tuple[float, float, int]]:
        diarizer.set_config(_config(sherpa_onnx, asked, clusters=clusters))
        found = diarizer.process(samples, callback=progress).sort_by_start_time()
        return [(one.start, one.end, one.speaker) for one in found]

    least, most = wanted["least"], wanted["most"]
    turns = search(most if least == most else -1)
    count = len({speaker for *_, speaker in turns})
    within = min(max(count, least), most or count)
    if count and within != count and least != most:
        turns = search(within)
    _answer(target, turns=turns, embeddings=_embeddings(extractor, samples, turns))


def _config(library: Any, asked: dict[str, Any], *, clusters: int) -> Any:
    segmentation = library.OfflineSpeakerSegmentationModelConfig(
        pyannote=library.OfflineSpeakerSegmentationPyannoteModelConfig(model=asked["segmentation"]),
        num_threads=asked["threads"],
    )
    return library.OfflineSpeakerDiarizationConfig(
        segmentation=segmentation,
        embedding=library.SpeakerEmbeddingExtractorConfig(model=asked["embedding"], num_threads=asked["threads"]),
        clustering=library.FastClusteringConfig(num_clusters=clusters, threshold=asked["threshold"]),
        min_duration_on=0.3,
        min_duration_off=0.5,
    )


def _embeddings(extractor: Any, samples: Samples, turns: list[tuple[float, float, int]]) -> dict[int, list[float]]:
    """What each speaker's voice is like; the library keeps to itself what it clustered."""
    found = {}
    for speaker in sorted({speaker for *_, speaker in turns}):
        own = [samples[round(start * RATE) : round(end * RATE)] for start, end, who in turns if who == speaker]
        stream = extractor.create_stream()
        stream.accept_waveform(RATE, np.concatenate(own)[: round(LONGEST_S * RATE)])
        stream.input_finished()
        if extractor.is_ready(stream):
            vector = np.asarray(extractor.compute(stream), np.float64)
            found[speaker] = (vector / max(1e-9, float(np.linalg.norm(vector)))).tolist()
    return found


def _answer(target: BinaryIO, **said: Any) -> None:
    target.write(json.dumps(said).encode() + b"\n")
    target.flush()


if __name__ == "__main__":
    main()
