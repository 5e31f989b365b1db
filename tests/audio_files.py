"""Recordings of every odd kind, made with PyAV: no ffmpeg on PATH is needed."""

import io
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from numpy.typing import NDArray


def tone(seconds: float, *, rate: int = 16_000, hertz: float = 440.0, channels: int = 1) -> NDArray[np.int16]:
    """A sine, shape (n, channels), int16."""
    times = np.arange(round(seconds * rate)) / rate
    wave_ = (0.3 * 32767 * np.sin(2 * np.pi * hertz * times)).astype(np.int16)
    return np.repeat(wave_[:, None], channels, axis=1)


def wav(seconds: float = 1.0, *, rate: int = 16_000, hertz: float = 440.0, channels: int = 1) -> bytes:
    """A WAV file with a sine; silence with *hertz* 0."""
    return wav_of(tone(seconds, rate=rate, hertz=hertz, channels=channels), rate=rate)


def recording(samples: NDArray[np.float32]) -> bytes:
    """A WAV file of 16 kHz with *samples* in [-1, 1]."""
    return wav_of(np.rint(samples[:, None] * 32767).astype(np.int16), rate=16_000)


def wav_of(samples: NDArray[np.int16], *, rate: int) -> bytes:
    """A WAV file with *samples*, shape (n, channels)."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(samples.shape[1])
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(samples.tobytes())
    return file.getvalue()


def encoded(container: str, codec: str, *, seconds: float = 1.0, rate: int = 16_000, hertz: float = 440.0) -> bytes:
    """A mono sine in *container* (FFmpeg's muxer name) by *codec*."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout="mono")
        assert isinstance(stream, AudioStream)
        _write_tone(out, stream, seconds=seconds, rate=rate, hertz=hertz)
    return file.getvalue()


def mp3(seconds: float = 1.0, *, rate: int = 16_000) -> bytes:
    """An MP3 file with a sine."""
    return encoded("mp3", "libmp3lame", seconds=seconds, rate=rate)


def video(*, seconds: float = 1.0, sound: bool = True, container: str = "mp4") -> bytes:
    """A small video of grey frames, with or without a sine for its sound."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        pictures = out.add_stream("mpeg4", rate=10)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        sounds = out.add_stream("aac", rate=16_000, layout="mono") if sound else None
        for _ in range(round(10 * seconds)):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 128, np.uint8), format="rgb24")
            out.mux(pictures.encode(frame))
        out.mux(pictures.encode(None))
        if sounds is not None:
            _write_tone(out, sounds, seconds=seconds, rate=16_000, hertz=440.0)
    return file.getvalue()


def text() -> bytes:
    """What somebody may have named .mp3."""
    return b"This is no audio at all, whatever its name says.\n" * 400


def playlist(target: Path | str) -> bytes:
    """An HLS playlist that names another file."""
    return f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{target}\n#EXT-X-ENDLIST\n".encode()


def _write_tone(out: OutputContainer, stream: AudioStream, *, seconds: float, rate: int, hertz: float) -> None:
    if not stream.codec_context.is_open:
        stream.bit_rate = 64_000
        stream.codec_context.open()
    size = stream.codec_context.frame_size or 1024
    samples = tone(seconds, rate=rate, hertz=hertz)[:, 0]
    resampler = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=rate, frame_size=size)
    frame = av.AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    for part in [*resampler.resample(frame), *resampler.resample(None)]:
        out.mux(stream.encode(part))
    out.mux(stream.encode(None))


def claiming(samples: int) -> bytes:
    """An MP4 of a few hundred bytes whose table of sizes claims so many samples, each of one byte."""
    data = bytearray(encoded("mp4", "aac", seconds=0.2))
    for table, at in ((b"stsz", 12), (b"stts", 12), (b"stsc", 16)):
        start = data.index(table)
        data[start + at : start + at + 4] = samples.to_bytes(4, "big")
    sizes = data.index(b"stsz") + 8
    data[sizes : sizes + 4] = (1).to_bytes(4, "big")
    return bytes(data)
