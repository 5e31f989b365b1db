"""Opening untrusted media: local bytes only, no playlists, no devices, whatever the file says of other files."""

import os

import av
from av.container import InputContainer
from av.stream import Disposition

from transcription.languages import code_of
from transcription.media.codecs.bounds import Part
from transcription.media.codecs.source import pread
from transcription.tracks import MOST_TRACKS, Track

# FFmpeg also opens playlists that name other files and URLs (hls, dash, concat, imf, sdp), devices, text and images.
# What isn't listed here isn't opened at all.
DEMUXERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,dtshd,eac3,flac,flv,iff,loas,live_flv,matroska,webm,mov,mp4,m4a,mlp,"
    "mp3,mpc,mpc8,mpeg,mpegts,mxf,nut,ogg,oma,rm,sox,swf,tak,truehd,tta,voc,w64,wav,wsaud,wtv,wv,xwma"
)
OPEN_OPTIONS = {"protocol_whitelist": "none", "format_whitelist": DEMUXERS, "max_streams": str(MOST_TRACKS)}
"""How an untrusted file is opened: by its bytes alone, and with a bounded number of streams."""

READ_BYTES = 1 << 18
BARE_BYTES = 2048


class PartFile:
    """A part of an open file as a file of its own: it has no name for FFmpeg to guess by."""

    def __init__(self, descriptor: int, part: Part) -> None:
        self._descriptor = descriptor
        self._part = part
        self._size = part.end - part.start
        self._at = 0

    def read(self, count: int) -> bytes:
        """The next bytes; none at the part's end."""
        begin = self._part.start + self._at
        data = pread(self._descriptor, max(0, min(count, self._part.end - begin)), begin)
        self._at += len(data)
        return self._patched(data, begin) if self._part.patch else data

    def _patched(self, data: bytes, begin: int) -> bytes:
        changed = bytearray(data)
        for index, byte in enumerate(self._part.patch, self._part.patched - begin):
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
        tagged = stream.language
        found.append(
            Track(
                number=number,
                codec=context.name,
                channels=context.channels or 0,
                sample_rate=context.sample_rate or 0,
                language=(code_of(tagged) or tagged) if tagged and tagged != "und" else None,
                title=stream.metadata.get("title"),
                default=bool(stream.disposition & Disposition.default),
            )
        )
    return tuple(found)


def said(error: Exception) -> str:
    """What FFmpeg says of an error."""
    return str(getattr(error, "strerror", None) or error)[:200]
