"""What `bench/engines/gpu.sh` measures, a process for each kind of row; every figure is kept as soon as it is there."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

import demo
from bench.speech.corpus import Clip, clips, word_errors
from transcription.media.codecs.decode import decode
from transcription.options import Options
from transcription.settings import Settings, Worker
from transcription.spans import windows
from worker.audio.speech import detect_speech
from worker.audio.windows import Window
from worker.model_cache import ModelCache

TINY = os.environ.get("GPU_BENCH") == "tiny"
SIZES = ("tiny",) if TINY else tuple(os.environ.get("GPU_SIZES", "large turbo").split())
DEVICE = "cpu" if TINY else "cuda"
OUT = Path(os.environ.get("OUT", ".gpu/out"))
WORK = Path(os.environ.get("GPU_WORK", tempfile.gettempdir())) / "murmur-gpu-bench"
CLIPS = 4 if TINY else int(os.environ.get("GPU_CLIPS", "768"))
LONG_S = 30.0 if TINY else 1800.0
AT_ONCE = 2 if TINY else 128
STARTED = time.time()
Task = Callable[[Path], tuple[str, int]]


def say(**figures: Any) -> None:
    """Print and keep a row."""
    line = json.dumps({"t": round(time.time() - STARTED, 1), **figures})
    print(line, flush=True)
    with (OUT / "results.jsonl").open("a") as file:
        print(line, file=file)


class Watch:
    """How busy the GPU was and how much of it was held, and this process's CPU seconds, while the block ran."""

    def __enter__(self) -> "Watch":
        self.gpu: list[int] = []
        self.memory: list[int] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._start, self._cpu = time.perf_counter(), _cpu_s()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall = time.perf_counter() - self._start
        self.cpu = _cpu_s() - self._cpu
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        try:
            import pynvml  # noqa: PLC0415

            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        except Exception:  # noqa: BLE001  no GPU
            return
        while not self._end.wait(0.1):
            self.gpu.append(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
            self.memory.append(pynvml.nvmlDeviceGetMemoryInfo(handle).used)

    def figures(self, count: int) -> dict[str, Any]:
        """What *count* windows cost."""
        return {
            "windows": count,
            "s": round(self.wall, 2),
            "win_s": round(count / self.wall, 2),
            "gpu_busy": round(statistics.mean(self.gpu) / 100, 3) if self.gpu else None,
            "gib": round(max(self.memory) / 2**30, 1) if self.memory else None,
            "cores": round(self.cpu / self.wall, 2),
            "cpu_s_window": round(self.cpu / count, 4),
        }


def _cpu_s() -> float:
    own = psutil.Process()
    return sum(t.user + t.system for p in (own, *own.children(recursive=True)) for t in [p.cpu_times()])


def model(size: str) -> Path:
    """The widened demo model's directory."""
    return WORK / size


def recordings(count: int, seconds: float, seed: int = 1) -> list[Clip]:
    """Clips, the same ones for whoever asks."""
    return clips(WORK / "audio", count, seconds, seed=seed)


def prepare() -> None:
    """Write the models and the recordings."""
    WORK.mkdir(parents=True, exist_ok=True)
    OUT.mkdir(parents=True, exist_ok=True)
    for size in ("tiny", *SIZES):
        start = time.time()
        demo.export_ct2(model(size), size)  # type: ignore[arg-type]
        say(what="prepared", size=size, s=round(time.time() - start, 1))
    recordings(CLIPS, 10)
    recordings(1, LONG_S, seed=2)


@contextmanager
def engine(size: str, name: str, **worker: Any) -> Iterator[tuple[ModelCache, str]]:
    """A cache with one model in it, loaded; and the model's name."""
    settings = Settings(
        model=str(model(size)),
        device=DEVICE,
        compute_type="float32" if DEVICE == "cpu" else os.environ.get("GPU_TYPE", "float16"),
        data_dir=WORK / "data",
        worker=Worker(engine=name, **worker),
    )
    start = time.time()
    cache = ModelCache(settings)
    with cache.get(str(model(size))):
        say(what="loaded", size=size, engine=name, s=round(time.time() - start, 1))
        yield cache, str(model(size))
    cache.close()


def transcribe(cache: ModelCache, name: str, path: Path, options: dict[str, Any]) -> tuple[str, int]:
    """Our worker's compute side; the text, and how many windows."""
    samples = decode(path, limit_s=1e6)
    groups = windows(detect_speech(samples))
    with cache.get(name) as loaded:
        written = loaded.transcribe(
            (Window.collect(group, samples) for group in groups),
            Options(**options).decoding(),
            language="en",
            owner=str(path),
            cancelled=lambda: False,
        )
        return "".join(segment.text for segments in written for segment in segments), len(groups)


def measured(
    label: str, task: Callable[[Path], tuple[str, int]], given: Sequence[Clip], at_once: int, **more: Any
) -> None:
    """Run *task* over all clips, so many at once, and keep what came out."""
    each: list[float] = []

    def one(clip: Clip) -> tuple[str, int]:
        start = time.perf_counter()
        done = task(clip.path)
        each.append(time.perf_counter() - start)
        return done

    with Watch() as watch, ThreadPoolExecutor(at_once) as pool:
        results = list(pool.map(one, given))
    wrong = [word_errors(clip.text, text) for clip, (text, _) in zip(given, results, strict=True)]
    say(
        what="measured", label=label, **more, **watch.figures(sum(count for _, count in results)),
        audio_s=round(sum(clip.seconds for clip in given)), at_once=at_once,
        wrong=f"{sum(w for w, _ in wrong)} of {sum(n for _, n in wrong)}",
        median_s=round(statistics.median(each), 3), max_s=round(max(each), 3),
    )  # fmt: skip


OPTIONS: dict[str, dict[str, Any]] = {
    "beam 5, words": {"word_timestamps": True},
    "beam 5, words, timestamps": {"word_timestamps": True, "segmentation": "timestamps"},
    "beam 5": {},
    "greedy": {"beam_size": 1},
}


def in_process(size: str, name: str, which: Sequence[str], count: int, **worker: Any) -> None:
    """Our worker in one process: short clips with each of the options, then one long file, then both at once."""
    given = recordings(CLIPS, 10)[:count]
    with engine(size, name, **worker) as (cache, loaded):
        warm = given[: min(len(given), AT_ONCE)]
        for label in which:
            options = OPTIONS[label]

            def task(path: Path, options: dict[str, Any] = options) -> tuple[str, int]:
                return transcribe(cache, loaded, path, options)

            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(lambda clip, task=task: task(clip.path), warm))
            more = {"size": size, "engine": name, "options": label, **worker}
            measured(f"ours, {name}, {label}", task, given, AT_ONCE, **more)
            _slots(cache, loaded)


def _slots(cache: ModelCache, name: str) -> None:
    """How full torch's slots have been so far, and how long its thread waited for the card."""
    with cache.get(name) as loaded:
        figures = getattr(loaded._whisper.model, "figures", None)  # type: ignore[attr-defined]  # noqa: SLF001
        if figures:
            say(what="slots", **{f"beams_{beams}": found for beams, found in figures().items()})


def torch() -> None:
    """Ours with torch, with its kernels' times; then one long file, and short jobs beside it."""
    for size in SIZES:
        in_process(size, "torch", tuple(OPTIONS) if size == SIZES[0] else ("beam 5, words",), CLIPS)
        with engine(size, "torch") as (cache, name):
            _long_and_short(size, cache, name)


def _long_and_short(size: str, cache: ModelCache, name: str) -> None:
    long, short = recordings(1, LONG_S, seed=2), recordings(CLIPS, 10)[:32]

    def task(path: Path) -> tuple[str, int]:
        return transcribe(cache, name, path, OPTIONS["beam 5, words"])

    more = {"size": size, "engine": "torch"}
    task(short[0].path)
    measured("one file, words", task, long, 1, **more)
    measured("short ones, one client, alone", task, short[:16], 1, **more)
    thread = threading.Thread(target=task, args=[long[0].path])
    thread.start()
    measured("short ones, one client, beside the long file", task, short[16:], 1, **more)
    thread.join()


def kernels() -> None:
    """Which kernels a step, and the encoder, spend their time in."""
    if DEVICE == "cuda":
        from bench.engines.gpu_kernels import profile_engine  # noqa: PLC0415

        profile_engine(model(SIZES[0]), OUT / f"kernels-{SIZES[0]}.txt", say)


def lab() -> None:
    """The research page's loop, if it is here: what torch can do with random weights."""
    script = Path(".gpu/gpu_lab.py")
    if not script.is_file():
        return
    env = {**os.environ, "DEV": DEVICE, "RESULTS": str(OUT / "results.jsonl")}
    subprocess.run([sys.executable, str(script)], env=env, check=False, timeout=120)


def ct2() -> None:
    """Ours with CTranslate2."""
    for size in SIZES[:1]:
        in_process(size, "faster_whisper", ("beam 5, words",), min(CLIPS, 256))
        in_process(size, "faster_whisper", ("beam 5, words, timestamps",), min(CLIPS, 128))


def peers() -> None:
    """faster-whisper by itself: sequential, and its own batches on one file."""
    from faster_whisper import BatchedInferencePipeline, WhisperModel  # noqa: PLC0415

    size = SIZES[0]
    whisper = WhisperModel(str(model(size)), device=DEVICE, compute_type="float32" if TINY else "float16")
    few = recordings(CLIPS, 10)[: 2 if TINY else 10]

    def sequential(path: Path) -> tuple[str, int]:
        segments, _ = whisper.transcribe(
            str(path), language="en", vad_filter=True, condition_on_previous_text=False, word_timestamps=True
        )
        return "".join(segment.text for segment in segments), 1

    sequential(few[0].path)
    measured("faster-whisper, sequential, words", sequential, few, 1, size=size)
    batched = BatchedInferencePipeline(whisper)
    file = recordings(1, 20.0 if TINY else 600.0, seed=3)
    count = len(windows(detect_speech(decode(file[0].path, limit_s=1e6))))
    for batch in (2,) if TINY else (8, 16, 32):

        def whole(path: Path, batch: int = batch) -> tuple[str, int]:
            segments, _ = batched.transcribe(str(path), language="en", batch_size=batch)
            return "".join(segment.text for segment in segments), count

        measured(f"faster-whisper, its batches of {batch}, one file", whole, file, 1, size=size, batch=batch)


def transformers() -> None:
    """Hugging Face's `generate`, greedy, on random weights of large's dimensions: 40 tokens a window."""
    import torch as library  # noqa: PLC0415
    from transformers import WhisperConfig, WhisperForConditionalGeneration  # noqa: PLC0415

    width, layers, heads = (64, 2, 2) if TINY else (1280, 32, 20)
    config = WhisperConfig(
        vocab_size=51866, num_mel_bins=128, d_model=width, encoder_layers=layers, decoder_layers=layers,
        encoder_attention_heads=heads, decoder_attention_heads=heads, encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
    )  # fmt: skip
    dtype = library.float32 if TINY else library.float16
    with library.device(DEVICE):
        network = WhisperForConditionalGeneration(config).to(dtype).eval()
    for batch in (2,) if TINY else (16, 64):
        features = library.randn(batch, 128, 3000, device=DEVICE, dtype=dtype)
        how = {"max_new_tokens": 40, "min_new_tokens": 40, "num_beams": 1, "do_sample": False}
        with library.inference_mode():
            for attempt in range(3):
                with Watch() as watch:
                    network.generate(features, **how)
                if attempt:
                    figures = watch.figures(batch)
                    say(
                        what="measured",
                        label=f"transformers, greedy, 40 tokens, batch {batch}",
                        size="large",
                        **figures,
                    )


def sizes() -> None:
    """Ours with torch and other numbers of windows at once."""
    for slots in (2,) if TINY else (32, 96):
        in_process(SIZES[0], "torch", ("beam 5, words",), min(CLIPS, 384), batch=slots)


def check() -> None:
    """The card writes what the CPU writes, with tiny."""
    import torch as library  # noqa: PLC0415

    given = recordings(CLIPS, 10)[: 2 if TINY else 24]
    found: dict[str, list[list[Any]]] = {}
    for device, kind in (("cpu", "float32"), *[(DEVICE, kind) for kind in ("float32", "float16", "bfloat16")]):
        library.manual_seed(1)
        settings = Settings(
            model=str(model("tiny")), device=device, compute_type=kind, data_dir=WORK / "data",  # type: ignore[arg-type]
            worker=Worker(engine="torch"),
        )  # fmt: skip
        cache = ModelCache(settings)
        with cache.get(settings.model) as loaded, ThreadPoolExecutor(8) as pool:

            def one(clip: Clip, loaded: Any = loaded) -> list[Any]:
                samples = decode(clip.path, limit_s=1e6)
                groups = [Window.collect(group, samples) for group in windows(detect_speech(samples))]
                options = Options(word_timestamps=True).decoding()
                written = loaded.transcribe(groups, options, language="en", owner="o", cancelled=lambda: False)
                return [segment for segments in written for segment in segments]

            found[f"{device} {kind}"] = list(pool.map(one, given))
        cache.close()
    reference = found["cpu float32"]
    for name, rows in found.items():
        same = sum([s.tokens for s in a] == [s.tokens for s in b] for a, b in zip(reference, rows, strict=True))
        off = [
            abs(v.start - w.start)
            for a, b in zip(reference, rows, strict=True)
            for s, t in zip(a, b, strict=False)
            if s.tokens == t.tokens
            for v, w in zip(s.words or (), t.words or (), strict=False)
        ]
        say(what="check", label=name, same=f"{same} of {len(rows)}", words_off_s=round(max(off, default=0.0), 2))


def platform() -> None:
    """All of it, with many clients: HTTP, ledger, Celery, one worker."""
    from bench.speech.contestants import serving  # noqa: PLC0415

    size = SIZES[0]
    given = recordings(CLIPS, 10)
    with serving(model(size), WORK / "platform", Worker(engine="torch"), device=DEVICE) as client:

        def task(path: Path) -> tuple[str, int]:
            job = client.submit(path, language="en", word_timestamps=True)
            client.wait(job.id)
            text = str(client.result(job.id, "text"))
            client.delete(job.id)
            return text, 1

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda clip: task(clip.path), given[: len(given) // 4]))
        measured("the platform, words", task, given, AT_ONCE, size=size, engine="torch")


COLUMNS = {
    "row": "label", "size": "size", "slots": "batch", "clients": "at_once", "windows/s": "win_s",
    "GPU busy": "gpu_busy", "GiB": "gib", "cores": "cores", "CPU s a window": "cpu_s_window", "median s": "median_s",
    "words wrong": "wrong",
}  # fmt: skip


def table() -> None:
    """Everything that was measured, as a table."""
    rows = [json.loads(line) for line in (OUT / "results.jsonl").read_text().splitlines()]
    print("|", " | ".join(COLUMNS), "|")
    print("|" + "---|" * len(COLUMNS))
    for row in rows:
        if row["what"] == "measured":
            print("|", " | ".join(str(row.get(key) or "") for key in COLUMNS.values()), "|")
    for row in rows:
        if row["what"] == "check":
            print(
                f"\n{row['label']}: the CPU's tokens in {row['same']}, words' starts differ by {row['words_off_s']} s"
            )


ROWS = {
    f.__name__: f for f in (prepare, check, kernels, torch, lab, ct2, peers, transformers, sizes, platform, table)
}  # fmt: skip

if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    ROWS[sys.argv[1]]()
    if sys.argv[1] == "clean":
        shutil.rmtree(WORK, ignore_errors=True)
