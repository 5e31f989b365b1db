"""
What it costs to compare a recording with its SHA-256 while it is decoded, as workers do.

Run as `python -m bench.verify`; a line for each form of recording, read from the page cache: SHA-256 alone, decoding
alone (in the sandbox), both at once as a worker does it, and what that is more.
"""

import hashlib
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import av
import numpy as np

from transcription.media.decoder import Decoder
from transcription.settings import Settings
from transcription.storage.verify import verify

SECONDS = 300
ROUNDS = 5
FORMS = (
    ("wav, 16 kHz mono", "wav", "pcm_s16le", 16_000, "mono"),
    ("wav, 44.1 kHz stereo", "wav", "pcm_s16le", 44_100, "stereo"),
    ("flac, 44.1 kHz stereo", "flac", "flac", 44_100, "stereo"),
    ("mp3, 44.1 kHz stereo", "mp3", "libmp3lame", 44_100, "stereo"),
    ("ogg opus, 48 kHz mono", "ogg", "libopus", 48_000, "mono"),
)


def written(path: Path, container: str, codec: str, rate: int, layout: str) -> None:
    """Write *SECONDS* of noise that swells and fades, as speech does."""
    random = np.random.default_rng(1)
    channels = 2 if layout == "stereo" else 1
    swell = np.abs(np.sin(np.arange(rate) * (2 * np.pi * 3 / rate)))
    with av.open(str(path), "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate, layout=layout)
        for _ in range(SECONDS):
            sound = (random.normal(0, 3000, (channels, rate)) * swell).clip(-32768, 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(sound.T.reshape(1, -1), format="s16", layout=layout)
            frame.sample_rate = rate
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def best(what: Callable[[], object]) -> float:
    """Seconds of the quickest of some rounds."""
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        what()
        took.append(time.perf_counter() - began)
    return min(took)


def decoded(decoder: Decoder, path: Path) -> None:
    """Decode the file into one that is thrown away."""
    with tempfile.TemporaryFile(dir=path.parent) as target:
        decoder.decode(path, target)


def damaged(sha256: str) -> None:
    """Never: the file is as it was written."""
    raise AssertionError(sha256)


def main() -> None:
    """Print the table."""
    print(f"{SECONDS} s of sound, the quickest of {ROUNDS} rounds\n")
    print("| form | bytes | SHA-256 | decode | both | more |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as beside:
        decoder = Decoder(Settings(data_dir=Path(folder)))
        decoder.start()
        for name, container, codec, rate, layout in FORMS:
            path = Path(folder) / f"sound.{container}"
            written(path, container, codec, rate, layout)
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            decoding = partial(decoded, decoder, path)
            looking = partial(verify, path, sha256, damaged=damaged)

            def both(decoding: Callable[[], object] = decoding, looking: Callable[[], object] = looking) -> None:
                verified = beside.submit(looking)
                decoding()
                verified.result()

            hashed_s, decoded_s, both_s = best(looking), best(decoding), best(both)
            more = 100 * (both_s - decoded_s) / decoded_s
            print(
                f"| {name} | {path.stat().st_size / 1e6:.1f} MB | {1000 * hashed_s:.1f} ms | {1000 * decoded_s:.0f} ms "
                f"| {1000 * both_s:.0f} ms | {more:+.1f} % |"
            )
        decoder.close()


if __name__ == "__main__":
    main()
