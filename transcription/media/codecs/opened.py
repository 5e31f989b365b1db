"""Opening untrusted media: local bytes only, no playlists, no devices, whatever the file says of other files."""

import os
from contextlib import suppress

import av
from av.audio.codeccontext import AudioCodecContext
from av.container import InputContainer
from av.stream import Disposition

from transcription.errors import CorruptAudio, IndexMissing, UnsupportedMedia
from transcription.languages import code_of
from transcription.media.codecs.source import pread
from transcription.media.containers.file_bytes import Bytes
from transcription.media.containers.part import Part
from transcription.media.containers.parts import behind_junk, lacks_index, part_at
from transcription.tracks import MOST_TRACKS, Track

# FFmpeg also opens playlists that name other files and URLs (hls, dash, concat, imf, sdp), devices, text and images.
# What isn't listed here isn't opened at all.
DEMUXERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,dtshd,eac3,flac,flv,iff,loas,live_flv,matroska,webm,mov,mp4,m4a,mlp,"
    "mp3,mpc,mpc8,mpeg,mpegts,mxf,nut,ogg,oma,rm,sox,swf,tak,truehd,tta,voc,w64,wav,wsaud,wtv,wv,xwma"
)
OPEN_OPTIONS = {"protocol_whitelist": "none", "format_whitelist": DEMUXERS, "max_streams": str(MOST_TRACKS)}
"""How an untrusted file is opened: by its bytes alone, and with a bounded number of streams."""

_MAGIC = (
    (0, b"ID3"), (0, b"RIFF"), (0, b"fLaC"), (0, b"OggS"), (0, b"\x1aE\xdf\xa3"), (4, b"ftyp"), (0, b"FLV"),
    (0, b"caff"),
    (0, b"TTA1"),
)  # fmt: skip

READ_BYTES = 1 << 15
BARE_BYTES = 2048


class PartFile:
    """A part of an open file as a file of its own: it has no name for FFmpeg to guess by."""

    def __init__(self, descriptor: int, part: Part) -> None:
        self._descriptor = descriptor
        self.part = part
        self._size = part.end - part.start
        self._at = 0

    def read(self, count: int) -> bytes:
        """The next bytes; none at the part's end."""
        begin = self.part.start + self._at
        data = pread(self._descriptor, max(0, min(count, self.part.end - begin)), begin)
        self._at += len(data)
        return self._patched(data, begin) if self.part.patch else data

    def _patched(self, data: bytes, begin: int) -> bytes:
        changed = bytearray(data)
        for index, byte in enumerate(self.part.patch, self.part.patched - begin):
            if 0 <= index < len(changed):
                changed[index] = byte
        return bytes(changed)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move, as files do."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at


def open_first(file: Bytes, descriptor: int) -> "tuple[PartFile, InputContainer]":
    """
    Open a file's first container, behind what may stand before it.

    Raises:
        IndexMissing: the table of its sound isn't there.
        CorruptAudio: a known container whose structure can't be read.
        UnsupportedMedia: no container that is taken here.
    """
    opened = PartFile(descriptor, part_at(file, 0))
    try:
        return opened, open_part(opened)
    except (av.FFmpegError, ValueError) as error:
        what = said(error)
    if lacks_index(file, opened.part):
        raise IndexMissing(
            "the file ends before its index, which says where the sound is: it was cut off, or its recorder wasn't "
            "ended; copy it again, or have it repaired beside a whole one of the same device"
        )
    behind = behind_junk(file)
    if behind is not None:
        opened = PartFile(descriptor, part_at(file, behind))
        with suppress(av.FFmpegError, ValueError):
            return opened, open_part(opened)
    head = file.get(0, 16)
    if any(head[at : at + len(magic)] == magic for at, magic in _MAGIC):
        what = f"the file begins like audio or video, but its structure can't be read ({what}); was it cut off?"
        raise CorruptAudio(what)
    raise UnsupportedMedia("the content of the file is no audio or video that the decoder knows")


def open_part(file: PartFile) -> InputContainer:
    """Open a part of a file for demuxing. FFmpegError, ValueError: no container that is taken here."""
    head = file.read(2)
    file.seek(0)
    # How much of a bare AAC stream was skipped shows only in how far it was read.
    bare = len(head) == 2 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0
    return av.open(
        file,
        mode="r",
        metadata_errors="ignore",
        buffer_size=BARE_BYTES if bare else READ_BYTES,
        container_options=dict(OPEN_OPTIONS),
    )


def tracks_of(container: InputContainer) -> tuple[Track, ...]:
    """The audio tracks that can be decoded."""
    found = []
    for number, stream in enumerate(container.streams.audio, start=1):
        context = getattr(stream, "codec_context", None)
        if context is None:
            continue
        tagged, channels = stream.language, _count_channels(context)
        found.append(
            Track(
                number=number,
                codec=context.name,
                channels=channels,
                sample_rate=context.sample_rate or 0,
                language=(code_of(tagged) or tagged) if tagged and tagged != "und" else None,
                title=stream.metadata.get("title"),
                default=bool(stream.disposition & Disposition.default),
            )
        )
    return tuple(found)


def _count_channels(context: AudioCodecContext) -> int:
    """
    How many channels a track has; an order of its own is forgotten, and all of them count alike.

    PyAV frees such an order each time that somebody looks at it, and the process dies of the second time.
    """
    layout = context.layout
    count, own = layout.nb_channels, "+" in layout.name
    if own:
        context.layout = {1: "mono", 2: "stereo"}.get(count, f"{count} channels")
    return count


def said(error: Exception) -> str:
    """What FFmpeg says of an error."""
    return str(getattr(error, "strerror", None) or error)[:200]
