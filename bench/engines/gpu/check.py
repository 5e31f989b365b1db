"""Whether the card writes what the CPU writes, in every type that it computes in."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from bench.engines.gpu.measurement import tried
from bench.engines.gpu.record import say
from bench.engines.gpu.scale import CHECKED, CLIP_S, CLIPS, DEVICE, TINY, WORK, model, recordings
from bench.speech.corpus import Clip
from transcription.media.codecs.decode import decode
from transcription.options import Options, Segmentation
from transcription.settings import Settings, Worker
from transcription.spans import windows
from transcription.transcript import Segment
from worker.audio.speech import detect_speech
from worker.audio.windows import Window
from worker.engines.base import Engine
from worker.model_cache import ModelCache


def check() -> None:
    """Compare tokens and words' times with those of the CPU in float32."""
    given = recordings(CLIPS, CLIP_S)[: 2 if TINY else 24]
    for way in ("timestamps", "words"):
        reference = _heard("cpu", "float32", given, way)
        for kind in ("float32", "float16", "bfloat16"):
            label = f"{DEVICE} {kind}, segments from {way}"
            with tried(f"check, {label}"):
                _compare(label, reference, _heard(DEVICE, kind, given, way))


def _heard(device: str, kind: str, given: Sequence[Clip], way: str) -> list[list[Segment]]:
    torch.manual_seed(1)
    settings = Settings.model_validate(
        {"model": str(model(CHECKED)), "device": device, "compute_type": kind, "data_dir": WORK / "data",
         "worker": Worker(engine="torch")}
    )  # fmt: skip
    cache = ModelCache(settings)
    try:
        with cache.get(settings.model) as engine, ThreadPoolExecutor(8) as pool:
            return list(pool.map(lambda clip: _segments(engine, clip, way), given))
    finally:
        cache.close()


def _segments(engine: Engine, clip: Clip, way: str) -> list[Segment]:
    samples = decode(clip.path, limit_s=1e6)
    groups = [Window.collect(group, samples) for group in windows(detect_speech(samples))]
    options = Options(word_timestamps=True, segmentation=Segmentation(way)).decoding()
    written = engine.transcribe(groups, options, language="en", owner=str(clip.path), cancelled=lambda: False)
    return [segment for segments in written for segment in segments]


def _compare(label: str, reference: list[list[Segment]], found: list[list[Segment]]) -> None:
    same = sum([s.tokens for s in a] == [s.tokens for s in b] for a, b in zip(reference, found, strict=True))
    off = [
        abs(v.start - w.start)
        for a, b in zip(reference, found, strict=True)
        for s, t in zip(a, b, strict=False)
        if s.tokens == t.tokens
        for v, w in zip(s.words or (), t.words or (), strict=False)
    ]
    say(what="check", label=label, same=f"{same} of {len(found)}", words_off_s=round(max(off, default=0.0), 2))
