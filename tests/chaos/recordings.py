"""Recordings to lose: noise of a set length, different for every number; and what the stub engine says of them."""

import io
import wave
from pathlib import Path

import numpy as np

from tests.chaos.stub_engine import said
from transcription.media.audio import RATE
from transcription.media.codecs.decode import decode
from transcription.spans import pieces, windows
from worker.audio.speech import detect_speech, everything
from worker.audio.windows import Window

SLOW_RATE = 8000


def recording(number: int, seconds: float) -> bytes:
    """A WAV file of *seconds* at 8 kHz, 8 bit, mono."""
    noise = np.random.default_rng(number).integers(100, 156, int(seconds * SLOW_RATE), dtype=np.uint8)
    file = io.BytesIO()
    with wave.open(file, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(1)
        wav.setframerate(SLOW_RATE)
        wav.writeframes(noise.tobytes())
    return file.getvalue()


def expected(audio: bytes, scratch: Path, *, span_s: float) -> str:
    """The undisturbed transcript, computed here without any platform."""
    path = scratch / "expected.wav"
    path.write_bytes(audio)
    samples = decode(path, limit_s=1e6)
    duration = samples.size / RATE
    parts = pieces(everything(detect_speech(samples), duration), duration, target_s=span_s)
    heard = [said(Window.collect(group, samples).samples) for part in parts for group in windows(part.speech)]
    return "".join(heard).strip()
