"""Our worker in one process, but for the sandbox that decodes: speech detection, the engine with its batches."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from bench.engines.gpu.measurement import measured, tried
from bench.engines.gpu.record import say
from bench.engines.gpu.scale import AT_ONCE, CLIP_S, CLIPS, COMPUTE_TYPE, DEVICE, LONG_S, SIZES, TINY, WORK, recordings
from bench.engines.gpu.scale import model as directory_of
from bench.engines.gpu.watch import seconds_of
from transcription.media.decoder import Decoder
from transcription.options import Options
from transcription.settings import Settings, Worker
from transcription.spans import windows
from worker.audio.speech import detect_speech
from worker.audio.windows import Window
from worker.model_cache import ModelCache

WORDS = "beam 5, words"
OPTIONS: dict[str, dict[str, Any]] = {
    WORDS: {"word_timestamps": True},
    "greedy": {"beam_size": 1},
    "beam 5": {},
    "beam 5, words, timestamps": {"word_timestamps": True, "segmentation": "timestamps"},
}
SHORT_ONES = 16


class Ours:
    """A model in an engine, which the rows below measure."""

    def __init__(self, size: str, engine: str, cache: ModelCache, decoder: Decoder, worker: dict[str, Any]) -> None:
        self.size, self._engine, self._cache, self._decoder = size, engine, cache, decoder
        self._more = {"size": size, "engine": engine, **worker}

    def transcribe(self, path: Path, options: dict[str, Any]) -> tuple[str, int]:
        """The text, and how many windows."""
        with TemporaryFile(dir=WORK) as file, self._cache.get(str(directory_of(self.size))) as loaded:
            recording = self._decoder.decode(path, file)
            groups = windows(detect_speech(recording))
            written = loaded.transcribe(
                (Window.joined(group, recording.cut) for group in groups),
                Options(**options).decoding(),
                language="en",
                owner=str(path),
                cancelled=lambda: False,
            )
            return "".join(segment.text for segments in written for segment in segments), len(groups)

    def short_clips(self, label: str, count: int) -> None:
        """Short clips of many callers with the options called *label*."""
        given, options = recordings(CLIPS, CLIP_S)[:count], OPTIONS[label]

        def task(path: Path) -> tuple[str, int]:
            return self.transcribe(path, options)

        name = f"ours, {self._engine}, {label}"
        with tried(f"{name}, warming up", **self._more), ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda clip: task(clip.path), given[: 2 * AT_ONCE]))
        measured(name, task, given, AT_ONCE, options=label, **self._more)
        self._say_slots()

    def long_and_short(self) -> None:
        """One long file; then short ones alone, and beside the long one."""
        long, short = recordings(1, LONG_S, seed=2), recordings(CLIPS, CLIP_S)[: 2 * SHORT_ONES]
        half = len(short) // 2

        def task(path: Path) -> tuple[str, int]:
            return self.transcribe(path, OPTIONS[WORDS])

        with tried("a first clip", **self._more):
            task(short[0].path)
        measured("one file, words", task, long, 1, **self._more)
        measured("short ones, one client, alone", task, short[:half], 1, **self._more)
        thread = threading.Thread(target=self._in_background, args=[long[0].path], daemon=True)
        thread.start()
        measured("short ones, one client, beside the long file", task, short[half:], 1, **self._more)
        thread.join()

    def _in_background(self, path: Path) -> None:
        with tried("the long file beside short ones", **self._more):
            self.transcribe(path, OPTIONS[WORDS])

    def _say_slots(self) -> None:
        """How full torch's slots have been so far, and how long its thread waited for the card."""
        with self._cache.get(str(directory_of(self.size))) as loaded:
            figures = getattr(loaded._whisper.model, "figures", None)  # type: ignore[attr-defined]  # noqa: SLF001
            if figures:
                say(what="slots", **{f"beams_{beams}": found for beams, found in figures().items()})


@contextmanager
def loaded(size: str, engine: str, **worker: Any) -> Iterator[Ours]:
    """A model in *engine*, ready; it is unloaded at the block's end."""
    name = str(directory_of(size))
    settings = Settings(
        model=name,
        device=DEVICE,
        compute_type=COMPUTE_TYPE,
        data_dir=WORK / "data",
        worker=Worker(engine=engine, **worker),
    )
    cache, decoder = ModelCache(settings), Decoder(settings)
    try:
        with seconds_of() as spent, cache.get(name):
            pass
        say(what="loaded", size=size, engine=engine, s=spent[0])
        decoder.start()
        yield Ours(size, engine, cache, decoder, worker)
    finally:
        decoder.close()
        cache.close()


def torch() -> None:
    """Ours with torch, what matters most first; then the first of it with other sizes."""
    for size in SIZES:
        with tried(f"ours, torch, {size}"), loaded(size, "torch") as ours:
            for label in OPTIONS if size == SIZES[0] else [WORDS]:
                ours.short_clips(label, CLIPS)


def long() -> None:
    """One long file by itself, and short ones beside it."""
    with tried("ours, torch, one file"), loaded(SIZES[0], "torch") as ours:
        ours.long_and_short()


def ct2() -> None:
    """Ours with CTranslate2: segments from words, then today's way."""
    with tried("ours, faster_whisper"), loaded(SIZES[0], "faster_whisper") as ours:
        ours.short_clips(WORDS, min(CLIPS, 256))
        ours.short_clips("beam 5, words, timestamps", min(CLIPS, 128))


def sizes() -> None:
    """Ours with torch and other numbers of windows at once."""
    for slots in (2,) if TINY else (32, 96):
        with tried(f"ours, torch, {slots} slots"), loaded(SIZES[0], "torch", batch=slots) as ours:
            ours.short_clips(WORDS, min(CLIPS, 384))
