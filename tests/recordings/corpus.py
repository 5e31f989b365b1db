"""Recordings as people have them: every container and codec that is taken, each whole, late, holed, cut, glued …"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from demo import SAMPLES
from tests.audio_files import wav_of
from tests.recordings.claims import CLAIMS, claiming
from transcription.media.audio import RATE
from transcription.media.codecs.decode import decode

Pcm = NDArray[np.int16]

SHORT_CLAIM_S, LONG_CLAIM_S = 1.0, 50_000.0
LAYOUT_SIZES = {"stereo": 2, "5.1": 6, "7.1": 8}
LATE_S, GAP_AT_S, GAP_S = 10.0, 5.9, 20.0
HOLE_AT, HOLE = 0.3, 0.12


@dataclass(frozen=True, slots=True)
class Form:
    """
    A container with a codec.

    ``stamped``: packets have time stamps that may have gaps; ``picture``: a film's; ``layout``: of the most channels
    that it takes; ``tracks``: it may have several, whose languages it ``tags``.
    """

    container: str
    codec: str
    rate: int = 16_000
    stamped: bool = False
    picture: str = ""
    layout: str = "stereo"
    tracks: bool = False
    tags: bool = True
    options: dict[str, str] = field(default_factory=dict)


_BLACK = np.zeros((48, 64, 3), np.uint8)
_HASTE = {
    "libmp3lame": {"compression_level": "9"}, "libopus": {"compression_level": "0"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8"},
}  # fmt: skip
"""By encoder: how well a recording is compressed is nothing to a decoder."""

_AAC_IN_HASTE = {"aac_coder": "fast", "aac_tns": "0", "aac_pns": "0", "aac_ms": "0", "aac_is": "0"}
"""Of several channels: of one it isn't faster."""

_FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "1000000"}
_FILM: dict[str, Any] = {"stamped": True, "tracks": True, "picture": "mpeg4"}
FORMS: dict[str, Form] = {
    "WAV": Form("wav", "pcm_s16le", layout="7.1"),
    "AIFF": Form("aiff", "pcm_s16be", layout="7.1"),
    "AU": Form("au", "pcm_s16be", layout="7.1"),
    "CAF, ALAC": Form("caf", "alac", layout="5.1"),
    "FLAC": Form("flac", "flac", layout="7.1"),
    "MP3": Form("mp3", "libmp3lame"),
    "MP2": Form("mp2", "mp2"),
    "AAC (ADTS)": Form("adts", "aac", layout="7.1"),
    "AC-3": Form("ac3", "ac3", 48_000, layout="5.1"),
    "AMR": Form("amr", "libopencore_amrnb", 8_000, layout="mono"),
    "True Audio": Form("tta", "tta", layout="5.1"),
    "WavPack": Form("wv", "wavpack", layout="7.1"),
    "Ogg, Opus": Form("ogg", "libopus", 48_000, layout="7.1", tracks=True),
    "WebM, Opus": Form("webm", "libopus", 48_000, layout="7.1", **{**_FILM, "picture": "libvpx"}),
    "Matroska, AAC": Form("matroska", "aac", layout="7.1", **_FILM),
    "Matroska, FLAC": Form("matroska", "flac", layout="7.1", **_FILM),
    "MP4, AAC": Form("mp4", "aac", layout="7.1", **_FILM),
    "MP4 in fragments": Form("mp4", "aac", layout="7.1", options=_FRAGMENTED, **_FILM),
    "QuickTime, ALAC": Form("mov", "alac", layout="5.1", **_FILM),
    "FLV, AAC": Form("flv", "aac", 44_100, layout="5.1", stamped=True, picture="flv"),
    "AVI, MP3": Form("avi", "libmp3lame", 44_100, tracks=True, tags=False),
    "ASF, WMA": Form("asf", "wmav2", 44_100, **{**_FILM, "picture": "wmv2"}),
    "MPEG-TS, AAC": Form("mpegts", "aac", layout="5.1", **{**_FILM, "picture": "mpeg2video"}),
    "MPEG-PS, MP2": Form("mpeg", "mp2", 48_000, tags=False, **{**_FILM, "picture": "mpeg1video"}),
}


@cache
def speech() -> Pcm:
    """The sample that is in all of them: 11 s of speech, mono, 16 kHz."""
    return np.rint(decode(Path(SAMPLES["short"].path), limit_s=60) * 32767).astype(np.int16)


def kinds(name: str) -> tuple[str, ...]:
    """What a form can be tried as."""
    form = FORMS[name]
    found = ["plain", "hole", "cut", "glued"]
    found += ["gap"] if form.stamped else []
    found += ["late"] if form.picture else []
    found += ["length"] if name in CLAIMS else []
    found += ["channels"] if form.layout != "mono" else []
    found += ["tracks"] if form.tracks else []
    return tuple(found)


def variants(name: str, kind: str) -> list[tuple[bytes, dict[str, str]]]:
    """The recordings of a kind, each with what is asked of it."""
    form = FORMS[name]
    if kind == "length":
        whole = made(name, "plain")
        return [(claiming(name, whole, claim_s, rate=form.rate), {}) for claim_s in (SHORT_CLAIM_S, LONG_CLAIM_S)]
    if kind == "channels":
        sound = speech()
        last = np.zeros((LAYOUT_SIZES[form.layout], sound.size), np.int16)
        last[-1] = sound
        return [(written(form, [channels], layout=layout), {}) for channels, layout in
                ((np.stack([sound, -sound]), "stereo"), (last, form.layout))]  # fmt: skip
    if kind == "tracks":
        content = written(form, [0 * speech(), speech(), 0 * speech()], languages=["ger", "eng", "fre"])
        asked = [{"track": "2"}, *([{"track": "en"}, {"language": "en"}] if form.tags else [])]
        return [(content, one) for one in asked]
    return [(made(name, kind), {})]


@cache
def made(name: str, kind: str) -> bytes:
    """The recording; encoding it takes longer than reading it, and a damaged one is the plain one's bytes."""
    form = FORMS[name]
    if kind == "glued":
        parts = np.split(speech(), [round(3.8 * RATE), round(5.9 * RATE)])
        return b"".join(written(form, [part]) for part in parts)
    if kind == "late":
        return written(form, [speech()], start_s=LATE_S, picture=True)
    if kind == "gap":
        return written(form, [speech()], gap=(GAP_AT_S, GAP_S))
    if kind == "plain":
        return written(form, [speech()])
    whole = made(name, "plain")
    if kind == "cut":
        return whole[: len(whole) * 6 // 10]
    first, length = round(len(whole) * HOLE_AT), round(len(whole) * HOLE)
    junk = random.Random(5).randbytes(length)
    return whole[:first] + junk + whole[first + length :]


def place(kind: str) -> Callable[[float], float]:
    """Where what the sample says at some time stands in a recording of *kind*."""
    if kind == "late":
        return lambda time: time + LATE_S
    if kind == "gap":
        return lambda time: time if time < GAP_AT_S else time + GAP_S
    return lambda time: time


def written(
    form: Form,
    tracks: Sequence[Pcm],
    *,
    start_s: float = 0.0,
    gap: tuple[float, float] = (0.0, 0.0),
    picture: bool = False,
    languages: Sequence[str] = (),
    layout: str = "mono",
) -> bytes:
    """
    Encode *tracks*, shape (n,) or (channels, n).

    Their stamps begin at *start_s*, and from the gap's first second on they are later.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "recording"
        with av.open(str(path), "w", format=form.container, options=form.options) as out:
            pictures = _pictures(out, form) if picture else None
            streams = [_stream(out, form, layout) for _ in tracks]
            for stream, language in zip(streams, languages, strict=False):
                stream.metadata["language"] = language
            if pictures is not None:
                _film(out, pictures, seconds=start_s + 15)
            for stream, samples in zip(streams, tracks, strict=True):
                encode(out, stream, form, samples, start_s=start_s, gap=gap, layout=layout)
        return path.read_bytes()


def wave(channels: Sequence[Pcm]) -> bytes:
    """A WAV file of channels that nobody has named."""
    return wav_of(np.stack(channels, axis=1), rate=RATE)


def _stream(out: OutputContainer, form: Form, layout: str) -> AudioStream:
    options = _AAC_IN_HASTE if layout != "mono" and form.codec == "aac" else _HASTE.get(form.codec)
    stream = out.add_stream(form.codec, rate=form.rate, layout=layout, options=options)
    assert isinstance(stream, AudioStream)
    if form.codec == "libopencore_amrnb":
        stream.bit_rate = 12_200
    if form.codec == "wmav2":
        stream.bit_rate = 64_000
    return stream


def encode(
    out: OutputContainer,
    stream: AudioStream,
    form: Form,
    samples: Pcm,
    *,
    start_s: float = 0.0,
    gap: tuple[float, float] = (0.0, 0.0),
    layout: str = "mono",
) -> None:
    """Encode *samples* into *stream*: see `written`."""
    context = stream.codec_context
    if not context.is_open:
        context.open()
    size = context.frame_size or 1024
    resampler = av.AudioResampler(format=context.format, layout=layout, rate=form.rate, frame_size=size)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T).reshape(1, -1), format="s16", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
    at = 0
    for part in [*resampler.resample(frame), *resampler.resample(None)]:
        later = gap[1] if gap[1] and at / form.rate >= gap[0] else 0.0
        part.pts, part.time_base = at + round((start_s + later) * form.rate), Fraction(1, form.rate)
        at += part.samples
        out.mux(stream.encode(part))
    out.mux(stream.encode(None))


def _pictures(out: OutputContainer, form: Form) -> VideoStream:
    pictures = out.add_stream(form.picture, rate=25, options=_HASTE.get(form.picture))
    assert isinstance(pictures, VideoStream)
    pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
    return pictures


def _film(out: OutputContainer, pictures: VideoStream, *, seconds: float) -> None:
    for _ in range(round(25 * seconds)):
        frame = av.VideoFrame.from_ndarray(_BLACK, format="rgb24")
        out.mux(pictures.encode(frame))
    out.mux(pictures.encode(None))
