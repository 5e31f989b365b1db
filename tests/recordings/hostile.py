"""Files that want to make work: thousands of tracks, links or jumps. Written byte by byte, as no encoder would."""

import struct
from collections.abc import Sequence


def element(name: str, body: bytes) -> bytes:
    """An element of EBML: its id in hexadecimal, its size, its content."""
    return bytes.fromhex(name) + (len(body) | 1 << 56).to_bytes(8, "big") + body


def matroska(tracks: int, stamps_ms: Sequence[int], *, sound: bytes = bytes(1600)) -> bytes:
    """A Matroska file with *tracks* tracks of PCM, 8 kHz, and *sound* in the first one at each of the stamps."""
    head = element("1A45DFA3", element("4282", b"matroska") + element("4287", b"\x04") + element("4285", b"\x02"))
    info = element(
        "1549A966", element("2AD7B1", (1_000_000).to_bytes(4, "big")) + element("4489", struct.pack(">d", 1e3))
    )
    entries = b"".join(_track(number) for number in range(1, tracks + 1))
    clusters = b"".join(
        element("1F43B675", element("E7", stamp.to_bytes(8, "big")) + element("A3", b"\x81\x00\x00\x80" + sound))
        for stamp in stamps_ms
    )
    return head + element("18538067", info + element("1654AE6B", entries) + clusters)


def _track(number: int) -> bytes:
    audio = element("E1", element("B5", struct.pack(">d", 8000.0)) + element("9F", b"\x01") + element("6264", b"\x10"))
    uid = number.to_bytes(4, "big")
    kind = element("83", b"\x02") + element("86", b"A_PCM/INT/LIT")
    return element("AE", element("D7", uid) + element("73C5", uid) + kind + audio)
