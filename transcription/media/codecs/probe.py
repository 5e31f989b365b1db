"""What a file is, by its content: only that decides whether it can be transcribed."""

import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from av.container import InputContainer
from av.error import FFmpegError

from transcription.errors import CorruptAudio, NoAudioStream, NoSamples, TooLong, UnsupportedMedia
from transcription.media.audio import FULL_SCALE, RATE
from transcription.media.codecs.claims import claimed_s, is_believable
from transcription.media.codecs.opened import PartFile, open_first, open_part, said, tracks_of
from transcription.media.codecs.reader import Reader
from transcription.media.codecs.source import unseal
from transcription.media.containers.file_bytes import Bytes
from transcription.media.containers.part import Part
from transcription.media.containers.parts import next_start, part_at
from transcription.media.findings import AudioStream, Probe, Sample
from transcription.tracks import MOST_NAMED, Track, choose

_FAULTS_ALLOWED = 50
_PACKETS_TRIED = 500
_PARTS_LOOKED_AT = 16
_PACKETS_MEASURED = 3_000_000
_MEASURING_S = 8.0


def probe_descriptor(
    descriptor: int, *, max_duration_s: float, key: str | None = None, whole: bool = False
) -> dict[str, Any]:
    """`probe` as a sandbox calls it, or `listen` for the *whole* file; *key* decrypts it."""
    unseal(descriptor, key)
    return asdict((listen if whole else probe)(descriptor, max_duration_s=max_duration_s))


def listen(descriptor: int, *, max_duration_s: float) -> Sample:
    """Decode a short file to its end, and say how it sounds. TooLong, and what `Reader` raises."""
    samples, power = 0, 0.0
    for block in Reader(descriptor, limit_s=max_duration_s, track=None, language=None).blocks():
        samples += block.size
        power += float(np.square(block.astype(np.float64) / FULL_SCALE).sum())
    return Sample(samples / RATE, (power / max(1, samples)) ** 0.5)


def probe(source: Path | int, *, max_duration_s: float) -> Probe:
    """
    Probe a file, by its path or its descriptor, by its content, and decode its first sound to be sure of it.

    What a file says of its length is a claim: one that can't be, or is no more than FFmpeg's guess, is measured.

    Raises:
        UnsupportedMedia: no audio or video that the decoder knows.
        NoAudioStream: a video, or another container, without sound.
        NoSamples: the stream ends before any sound.
        TooLong: it has more sound than *max_duration_s*.
        IndexMissing: it ends before the table of its sound.
        CorruptAudio: audio by its first bytes, but nothing in it can be decoded.
    """
    with open(source, "rb") as opened:  # noqa: PTH123  it may be a descriptor
        file = Bytes(opened.fileno())
        first, container = open_first(file, opened.fileno())
        part = first.part
        with container:
            if not container.streams.audio:
                found = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
                raise NoAudioStream(f"the file ({container.format.name}) has no audio stream; it has {found}")
            tracks = tracks_of(container)
            if not tracks:
                raise UnsupportedMedia(f"no decoder for the audio stream of this {container.format.name} file")
            track = choose(tracks, wanted=None, language=None)
            _hear(container)
            claim = claimed_s(container, track)
            believed = is_believable(container, track, part, file, limit_s=max_duration_s)
            name = container.format.name
        duration = claim if believed else _measured_s(opened, part, track, claim, limit_s=max_duration_s)
        duration += _others_s(opened, file, part)
    streams = tuple(AudioStream(t.codec, t.sample_rate, t.channels) for t in tracks)
    return Probe(container=name, duration_s=min(duration, max_duration_s), streams=streams, tracks=tracks[:MOST_NAMED])


def _hear(container: InputContainer) -> None:
    """
    Return once a frame of any track has been decoded; junk that only resembles a stream never gets so far.

    A track may be empty: then another one is taken, see `reader`.
    """
    faults, last = 0, ""
    sounds = [stream for stream in container.streams.audio if stream.codec_context is not None]
    packets = container.demux(*sounds)
    for _ in range(_PACKETS_TRIED):
        try:
            packet = next(packets, None)
            if packet is None:
                break
            if any(getattr(frame, "samples", 0) for frame in packet.decode()):
                return
        except (FFmpegError, ValueError) as error:
            faults, last = faults + 1, said(error)
            if faults > _FAULTS_ALLOWED:
                break
            packets = container.demux(*sounds)  # a demuxer's error isn't the end
    if faults:
        raise CorruptAudio(f"nothing of the audio stream can be decoded ({last})")
    raise NoSamples("the file has an audio stream, but there is no sound in it")


def _measured_s(file: BinaryIO, part: Part, track: Track, claim: float, *, limit_s: float) -> float:
    """How long the packets of *track* are together; *claim* where there are too many to count. TooLong."""
    total, packets = 0.0, 0
    deadline = time.monotonic() + _MEASURING_S
    with suppress(FFmpegError, ValueError), open_part(PartFile(file.fileno(), part)) as container:
        stream = container.streams.audio[track.number - 1]
        base = float(stream.time_base or 0)
        for packet in container.demux(stream):
            packets += 1
            total += (packet.duration or 0) * base
            if total > limit_s + 1:
                raise TooLong(
                    f"the recording is more than {total:.0f} s long; the limit is {limit_s:.0f} s "
                    "(MURMUR_LIMITS__MAX_DURATION_S)"
                )
            if packets > _PACKETS_MEASURED or time.monotonic() > deadline:
                return max(claim, total)
    return total or claim


def _others_s(file: BinaryIO, parts: Bytes, first: Part) -> float:
    """What the containers after the first one claim: of a few of them; the decoder finds out about the others."""
    total, end = 0.0, first.end
    for _ in range(_PARTS_LOOKED_AT):
        at = next_start(parts, end) if end < parts.size else parts.size
        if at >= parts.size:
            break
        part = part_at(parts, at)
        end = part.end
        with suppress(FFmpegError, ValueError), open_part(PartFile(file.fileno(), part)) as container:
            tracks = tracks_of(container)
            total += claimed_s(container, tracks[0]) if tracks else 0.0
    return total
