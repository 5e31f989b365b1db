"""What a file is, by its content: the only judge of whether it can be transcribed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Stream

from transcription.errors import CorruptAudio, NoAudioStream, NoSamples, TooLong, UnsupportedMedia
from transcription.media.findings import AudioStream, Probe

# FFmpeg also opens playlists that name other files and URLs (hls, dash, concat, imf, sdp), devices, text and images.
# What isn't listed here isn't opened at all.
DEMUXERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,dtshd,eac3,flac,flv,iff,loas,live_flv,matroska,webm,mov,mp4,m4a,mlp,"
    "mp3,mpc,mpc8,mpeg,mpegts,mxf,nut,ogg,oma,rm,sox,swf,tak,truehd,tta,voc,w64,wav,wsaud,wtv,wv,xwma"
)
OPEN_OPTIONS = {"protocol_whitelist": "none", "format_whitelist": DEMUXERS, "max_streams": "64"}
"""How an untrusted file is opened: by its bytes alone, whatever it says of other files, and with few streams."""

_MAGIC = ((0, b"ID3"), (0, b"RIFF"), (0, b"fLaC"), (0, b"OggS"), (0, b"\x1aE\xdf\xa3"), (4, b"ftyp"), (0, b"FLV"))
_FAULTS_ALLOWED = 50
_PACKETS_TRIED = 500


def probe_descriptor(descriptor: int, *, max_duration_s: float) -> dict[str, Any]:
    """`probe` as a sandbox calls it."""
    return asdict(probe(descriptor, max_duration_s=max_duration_s))


def probe(source: Path | int, *, max_duration_s: float) -> Probe:
    """
    Judge a file, by its path or its descriptor, by its content, and decode its first sound to be sure of it.

    Raises:
        UnsupportedMedia: no audio or video that the decoder knows.
        NoAudioStream: a video, or another container, without sound.
        NoSamples: the stream ends before any sound.
        TooLong: the container says that it is longer than *max_duration_s*.
        CorruptAudio: audio by its first bytes, but nothing in it can be decoded.
    """
    with open(source, "rb") as file, open_media(file) as container:  # noqa: PTH123  it may be a descriptor
        if not container.streams.audio:
            found = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
            raise NoAudioStream(f"the file ({container.format.name}) has no audio stream; it has {found}")
        stream = container.streams.audio[0]
        if getattr(stream, "codec_context", None) is None:
            raise UnsupportedMedia(f"no decoder for the audio stream of this {container.format.name} file")
        duration = _duration_s(container, stream)
        if duration > max_duration_s:
            raise TooLong(
                f"the recording is {duration:.0f} s long; the limit is {max_duration_s:.0f} s "
                "(MURMUR_LIMITS__MAX_DURATION_S)"
            )
        _hear(container, stream)
        streams = tuple(
            AudioStream(s.codec_context.name, s.codec_context.sample_rate or 0, s.codec_context.channels or 0)
            for s in container.streams.audio
            if s.codec_context is not None
        )
        return Probe(container=container.format.name, duration_s=duration, streams=streams)


@contextmanager
def open_media(file: BinaryIO) -> Iterator[InputContainer]:
    """
    Open an untrusted file for demuxing: local bytes only, no playlists, no devices.

    Raises:
        UnsupportedMedia: no audio or video that the decoder knows.
        CorruptAudio: a known container whose structure can't be read.
    """
    try:
        container = av.open(file, mode="r", container_options=dict(OPEN_OPTIONS), metadata_errors="ignore")
    except (FFmpegError, ValueError) as error:
        if _looks_like_media(file):
            raise CorruptAudio(
                f"the file begins like audio or video, but its structure can't be read ({_describe(error)}); "
                "was it cut off?"
            ) from error
        raise UnsupportedMedia("the file is no audio or video that the decoder knows, judged by its content") from error
    with container:
        yield container


def _hear(container: InputContainer, stream: Stream) -> None:
    """Return once a frame has been decoded; junk that only resembles a stream never gets so far."""
    faults, last = 0, ""
    packets = container.demux(stream)
    for _ in range(_PACKETS_TRIED):
        try:
            packet = next(packets, None)
            if packet is None:
                break
            if any(getattr(frame, "samples", 0) for frame in packet.decode()):
                return
        except (FFmpegError, ValueError) as error:
            faults, last = faults + 1, _describe(error)
            if faults > _FAULTS_ALLOWED:
                break
    if faults:
        raise CorruptAudio(f"nothing of the audio stream can be decoded ({last})")
    raise NoSamples("the file has an audio stream, but there is no sound in it")


def _duration_s(container: InputContainer, stream: Stream) -> float:
    if container.duration is not None and container.duration > 0:
        return float(container.duration) / 1_000_000
    if stream.duration is not None and stream.duration > 0 and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return 0.0


def _looks_like_media(file: BinaryIO) -> bool:
    head = os.pread(file.fileno(), 16, 0)
    return any(head[at : at + len(magic)] == magic for at, magic in _MAGIC)


def _describe(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)[:200]
