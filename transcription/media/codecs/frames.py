"""Frames of one container's audio track, each with its time; a demuxer's or a decoder's error is not the end."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
from av.audio.frame import AudioFrame
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from transcription.media.codecs.opened import PartFile, said

PATIENCE = 64
"""Errors of a demuxer, one after the other, after which it won't go on; asked again it usually does."""

LOST_BYTES = 8192
"""Bytes between two packets that are more than a container's own headers."""

JUNK_BYTES = 32_768
JUNK_TIMES = 16
"""A packet of so many bytes, so many times as long as others, is no frame: the parser swallowed what it can't read."""

SKIPPED_BYTES = 4096
"""Bytes that a demuxer without positions has read and not given, which are more than its buffer."""

CLEAN_S = 2.0
"""After so much sound without an error a damaged part is over."""

_TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN")
_TAG_WITHIN = 4096

# Bare streams: their stamps only count frames, at the first one's rate, so that what is missing is told by bytes alone.
BARE = {"aac", "ac3", "amr", "amrnb", "amrwb", "dts", "eac3", "loas", "mlp", "mp3", "truehd"}
_RESYNCING = {"asf", "avi", "flv", "live_flv", "matroska,webm", "mpeg", "mpegts", *BARE}
_NO_SOUND = {"amr_nb", "amr_wb", "amrnb", "amrwb"}
_COMFORT_NOISE_BYTES = 8


@dataclass(frozen=True, slots=True)
class Placed:
    """
    A frame, its time in seconds from the container's start, and what was lost just before it.

    ``lost`` is what was wrong, None where nothing was; ``lost_s`` how much the bytes say is missing that the stamps
    don't tell, None where nobody can say.
    """

    frame: AudioFrame
    time: float | None
    lost: str | None = None
    lost_s: float | None = 0.0


class Frames:
    """
    The frames of *stream*. After the last one ``fault`` says what was wrong at the end, None for a clean one.

    Args:
        container: Opened, and nothing read.
        stream: One of its audio streams.
        file: What it reads.
        origin: Time of the container's start in seconds, None: its own.
    """

    def __init__(
        self, container: InputContainer, stream: Stream, file: PartFile, *, origin: float | None = None
    ) -> None:
        self.seen_to = 0.0
        self.fault: str | None = None
        self.packets = 0
        self.read_to = 0
        self.origin = origin if origin is not None else _start_of(container)
        self._container = container
        self._stream = stream
        self._file = file
        self._behind: int | None = None
        self._given_bytes = 0
        self._bare = container.format.name in BARE
        self._watches_bytes = container.format.name in _RESYNCING
        self._skips = container.format.name in ("aac", "loas")
        self._parsed = self._bare or container.format.name == "flac"
        self._fixed = container.format.name.startswith("amr")
        self._alone = len(container.streams) == 1
        self._good_bytes = self._good_packets = 0
        self._good_s = 0.0
        self._lost_bytes = self._skipped_bytes = 0
        self._clock_s = 0.0
        self._faulty_s = -CLEAN_S
        self._region: tuple[int, float] | None = None

    def __iter__(self) -> Iterator[Placed]:
        for packet in self._packets():
            try:
                frames: list[Any] = packet.decode()
            except av.FFmpegError as error:  # one bad packet; the next may be good
                self._bad(packet, said(error))
                continue
            for frame in frames:
                if isinstance(frame, AudioFrame) and frame.sample_rate and frame.samples:
                    yield self._placed(frame, packet)

    def _packets(self) -> "Iterator[Packet[Any]]":
        """Packets of the stream. An error is followed by another question, as long as that leads on."""
        index, patience = self._stream.index, PATIENCE
        while patience > 0:
            try:
                for packet in self._container.demux():
                    self._watch(packet)
                    if packet.stream_index != index:
                        continue
                    self.packets += 1
                    patience = PATIENCE
                    yield packet
            except (av.FFmpegError, IndexError, ValueError) as error:
                self.fault = said(error) if isinstance(error, av.FFmpegError) else "a stream comes up on the way"
                patience -= 1
                continue
            return

    def _watch(self, packet: "Packet[Any]") -> None:
        """See how far the file is, and whether bytes were left out before *packet*."""
        pts, base = packet.pts, packet.time_base
        if pts is not None and base is not None:
            self.seen_to = max(self.seen_to, _seconds(pts + (packet.duration or 0), base) - self.origin)
        if packet.pos is None or not packet.size:
            return
        skipped = self._skipped(packet) if self._skips else packet.pos - self.read_to if self.read_to else 0
        if self._watches_bytes and skipped > (SKIPPED_BYTES if self._skips else LOST_BYTES):
            self._lost_bytes += skipped
            self._skipped_bytes += skipped
            self.fault = self.fault or f"{skipped} bytes can't be read"
        self.read_to = max(self.read_to, packet.pos + packet.size)
        if self._is_junk(packet) and not _is_tag(packet):
            self._lost_bytes += packet.size
            self.fault = self.fault or f"{packet.size} bytes hold no frame"

    def _skipped(self, packet: "Packet[Any]") -> int:
        """Bytes that the demuxer has read beyond all that it gave, since this was last asked and found any."""
        self._given_bytes += packet.size
        behind = self._file.tell() - self._given_bytes
        skipped = behind - self._behind if self._behind is not None else 0
        if self._behind is None or skipped > SKIPPED_BYTES or skipped < 0:
            self._behind = behind
        return skipped

    def _is_junk(self, packet: "Packet[Any]") -> bool:
        usual = self._good_bytes / self._good_packets if self._good_packets else packet.size
        return self._parsed and packet.size > JUNK_BYTES and packet.size > JUNK_TIMES * usual

    def _bad(self, packet: "Packet[Any]", what: str) -> None:
        quiet = self._stream.codec_context.name in _NO_SOUND and packet.size <= _COMFORT_NOISE_BYTES
        if not packet.size or quiet or _is_tag(packet):
            return
        self.fault = what
        if not self._is_junk(packet):  # else it was counted already
            self._lost_bytes += packet.size

    def _placed(self, frame: AudioFrame, packet: "Packet[Any]") -> Placed:
        lost, lost_s = self.fault, 0.0 if not self.fault else self._lost_s(packet)
        self.fault, self._lost_bytes = None, 0
        seconds = frame.samples / frame.sample_rate
        self._clock_s += seconds + (lost_s or 0.0)
        if lost:
            self._faulty_s = self._clock_s
        elif self._clock_s - self._faulty_s > CLEAN_S:
            self._region = None
            self._good_bytes += packet.size
            self._good_packets += 1
            self._good_s += seconds
        return Placed(frame, self._time(frame), lost, lost_s)

    def _time(self, frame: AudioFrame) -> float | None:
        pts, base = frame.pts, frame.time_base  # each look makes another fraction
        if pts is None or base is None or (self._bare and not self._fixed):
            return None
        return _seconds(pts, base) - self.origin

    def _lost_s(self, packet: "Packet[Any]") -> float | None:
        """What the bytes say is missing, where the stamps don't."""
        untimed = (self._bare and not self._fixed) or (self._container.format.name == "avi" and self._alone)
        if not untimed or not self._lost_bytes:
            return 0.0
        if not self._good_bytes or self._good_s < 1:
            return None
        position = self._given_bytes + self._skipped_bytes if self._skips else packet.pos or 0
        if self._region is None:
            self._region = position - self._lost_bytes, self._clock_s
        # Of all that the damaged bytes stand for, what came out of them anyway isn't missing.
        begin, clock_s = self._region
        stands_for = (position - begin) * self._good_s / self._good_bytes
        return max(0.0, stands_for - (self._clock_s - clock_s))


def _seconds(stamp: int, base: Fraction) -> float:
    return stamp * base.numerator / base.denominator


def _start_of(container: InputContainer) -> float:
    return 0.0 if container.start_time is None else container.start_time / 1_000_000


def _is_tag(packet: "Packet[Any]") -> bool:
    """Whether a parser took a tag between frames for one."""
    head = bytes(packet)[:_TAG_WITHIN]
    return any(tag in head for tag in _TAGS)
