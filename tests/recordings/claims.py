"""Recordings whose header says another length than they have: each container has a place of its own for it."""

import struct
import zlib
from collections.abc import Callable

Claim = Callable[[bytearray, float, int], None]

_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def claiming(name: str, content: bytes, seconds: float, *, rate: int = 16_000) -> bytes:
    """*content*, a recording of the form *name*, with a header that claims so many *seconds*."""
    changed = bytearray(content)
    CLAIMS[name](changed, seconds, rate)
    assert bytes(changed) != content
    return bytes(changed)


def _put(data: bytearray, at: int, kind: str, *values: float) -> None:
    struct.pack_into(kind, data, at, *values)


def _wav(data: bytearray, seconds: float, rate: int) -> None:
    _put(data, data.index(b"data") + 4, "<I", round(2 * rate * seconds))


def _aiff(data: bytearray, seconds: float, rate: int) -> None:
    _put(data, data.index(b"COMM") + 10, ">I", round(rate * seconds))
    _put(data, data.index(b"SSND") + 4, ">I", round(2 * rate * seconds) + 8)


def _au(data: bytearray, seconds: float, rate: int) -> None:
    _put(data, 8, ">I", round(2 * rate * seconds))


def _caf(data: bytearray, seconds: float, rate: int) -> None:
    _put(data, data.index(b"pakt") + 20, ">Q", round(rate * seconds))


def _flac(data: bytearray, seconds: float, rate: int) -> None:
    data[21] &= 0xF0
    _put(data, 22, ">I", round(rate * seconds))


def _mp3(data: bytearray, seconds: float, rate: int) -> None:
    at = data.index(b"Info" if b"Info" in data[:4096] else b"Xing")
    _put(data, at + 8, ">I", round(rate * seconds / 576))


def _tta(data: bytearray, seconds: float, rate: int) -> None:
    _put(data, 14, "<I", round(rate * seconds))
    _put(data, 18, "<I", zlib.crc32(data[:18]))


def _wavpack(data: bytearray, seconds: float, rate: int) -> None:
    _put(data, 12, "<I", round(rate * seconds))


def _matroska(data: bytearray, seconds: float, _: int) -> None:
    _put(data, data.index(b"\x44\x89\x88") + 3, ">d", 1000 * seconds)


def _mp4(data: bytearray, seconds: float, _: int) -> None:
    for box, scale_at in ((b"mvhd", 16), (b"mdhd", 16)):
        at = data.index(box)
        (scale,) = struct.unpack_from(">I", data, at + scale_at)
        _put(data, at + scale_at + 4, ">I", round(scale * seconds))


def _flv(data: bytearray, seconds: float, _: int) -> None:
    _put(data, data.index(b"duration\x00") + 9, ">d", seconds)


def _avi(data: bytearray, seconds: float, _: int) -> None:
    at = data.index(b"strh") + 8
    scale, rate = struct.unpack_from("<II", data, at + 20)
    _put(data, at + 32, "<I", round(seconds * rate / scale))


def _asf(data: bytearray, seconds: float, _: int) -> None:
    at = data.index(_FILE_PROPERTIES)
    _put(data, at + 64, "<QQ", round(seconds * 1e7), round(seconds * 1e7))


CLAIMS: dict[str, Claim] = {
    "WAV": _wav, "AIFF": _aiff, "AU": _au, "CAF, ALAC": _caf, "FLAC": _flac, "MP3": _mp3, "True Audio": _tta,
    "WavPack": _wavpack, "WebM, Opus": _matroska, "Matroska, AAC": _matroska, "Matroska, FLAC": _matroska,
    "MP4, AAC": _mp4, "MP4 in fragments": _mp4, "QuickTime, ALAC": _mp4, "FLV, AAC": _flv, "AVI, MP3": _avi,
    "ASF, WMA": _asf,
}  # fmt: skip
"""By form. The others say no length: bare streams, Ogg, MPEG-TS and MPEG-PS."""
