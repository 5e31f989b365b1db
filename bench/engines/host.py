"""
What the host does for a window beside the model: `python -m bench.engines.host --clips 64 --callers 1 8 48`.

Recordings of 10 s (WAV, one window each) through the worker's own way: decoded (copied, as they are mono and 16 kHz),
searched for speech, cut into windows, made into log-mel. The processor's time is that of all processes; a window's goal
is 0.05 s.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
from faster_whisper.feature_extractor import FeatureExtractor

from bench.engines.gpu.watch import cpu_s
from bench.speech.corpus import Clip, clips
from murmur.platform.local import ONE_THREAD
from transcription.media.decoder import Decoder
from transcription.media.recording import Recording
from transcription.settings import Settings
from transcription.spans import windows
from worker.audio.speech import detect_speech
from worker.audio.windows import Window

HEADINGS = "callers", "stages", "windows", "wall ms a window", "CPU ms a window", "threads"
LARGE_MELS = 128


class Host:
    """The stages on the host, each with those before it."""

    def __init__(self, settings: Settings, scratch: Path) -> None:
        self._decoder, self._scratch = Decoder(settings), scratch
        self._features = FeatureExtractor(feature_size=LARGE_MELS)
        self._decoder.start()

    def close(self) -> None:
        """End the sandbox."""
        self._decoder.close()

    def decode(self, path: Path) -> int:
        """Decode."""
        return self._with(path, lambda _: 1)

    def speech(self, path: Path) -> int:
        """Decode, and find speech."""
        return self._with(path, lambda recording: len(windows(detect_speech(recording))))

    def features(self, path: Path) -> int:
        """Decode, find speech, and make features: what CTranslate2 is given. Torch makes its own on the device."""

        def made(recording: Recording) -> int:
            groups = windows(detect_speech(recording))
            for group in groups:
                self._features(Window.joined(group, recording.cut).samples)
            return len(groups)

        return self._with(path, made)

    def _with(self, path: Path, work: Callable[[Recording], int]) -> int:
        with tempfile.TemporaryFile(dir=self._scratch) as file:
            return work(self._decoder.decode(path, file))


class _Threads:
    """The most threads that this process and its children had at once, while the block ran."""

    def __enter__(self) -> "_Threads":
        self.most, self._end = 0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        own = psutil.Process()
        while not self._end.wait(0.02):
            self.most = max(self.most, sum(map(_threads, (own, *own.children(recursive=True)))))


def _threads(process: psutil.Process) -> int:
    try:
        return process.num_threads()
    except psutil.Error:
        return 0


def row(stages: str, task: Callable[[Path], int], given: Sequence[Clip], callers: int) -> str:
    """One line of the table."""
    task(given[0].path)
    began, spent = time.perf_counter(), cpu_s()
    with _Threads() as threads, ThreadPoolExecutor(callers) as pool:
        count = sum(pool.map(lambda clip: task(clip.path), given))
    wall, spent = time.perf_counter() - began, cpu_s() - spent
    cells = callers, stages, count, f"{1000 * wall / count:.1f}", f"{1000 * spent / count:.1f}", threads.most
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 8, 48])
    parser.add_argument("--threads", action="store_true", help="let libraries have threads as they like")
    asked = parser.parse_args()
    if not asked.threads and any(os.environ.get(name) != value for name, value in ONE_THREAD.items()):
        # They read it when they are loaded, which they are by now.
        os.execve(sys.executable, [sys.executable, "-m", "bench.engines.host", *sys.argv[1:]], os.environ | ONE_THREAD)
    with tempfile.TemporaryDirectory() as folder:
        given = clips(Path(folder) / "audio", asked.clips, 10, seed=1)
        host = Host(Settings(data_dir=Path(folder)), Path(folder))
        try:
            print(f"| {' | '.join(HEADINGS)} |\n|{'---|' * len(HEADINGS)}")
            for callers in asked.callers:
                for stages, task in (
                    ("decode", host.decode), ("and find speech", host.speech), ("and features", host.features),
                ):  # fmt: skip
                    print(row(stages, task, given, callers), flush=True)
        finally:
            host.close()


if __name__ == "__main__":
    main()
