"""RIFF, RF64 and AIFF: chunks, and sizes that their writers didn't know."""

import struct

import numpy as np

from transcription.media.containers.file_bytes import Bytes
from transcription.media.containers.part import MOST_STEPS, UNKNOWN_SIZE, Part, clipped, is_name

LEAST_LIKE = 0.5
LEAST_REST = 4096
_KINDS = {
    (size.to_bytes(2, "big" if big else "little"), big): f"{'>' if big else '<'}i{size // 8}"
    for size in (16, 24, 32)
    for big in (False, True)
}
_SOUND = (b"data", b"SSND", b"LIST")
FILES = (b"RIFF", b"RIFX", b"RF64", b"FORM")


def riff(file: Bytes, start: int) -> Part:
    """RIFF and AIFF: one chunk after the other, whatever the file's header says of all of them."""
    big = file.get(start, 4) in (b"RIFX", b"FORM")
    form = file.get(start + 8, 4)
    at, large, size_at, bits = start + 12, 0, 0, b""
    for _ in range(MOST_STEPS):
        head = file.get(at, 12)
        name, size = head[:4], int.from_bytes(head[4:8], "big" if big else "little")
        if name == b"RIFF" and head[8:12] == b"AVIX" and form == b"AVI ":
            at += 12
            continue
        if len(head) < 8 or not is_name(name) or name in FILES:
            break
        if name == b"ds64":
            large, size_at = int.from_bytes(file.get(at + 16, 8), "little"), at + 16
        if name in _SOUND and not 0 < size < UNKNOWN_SIZE:
            if not 0 < large < 1 << 62:
                return _unsized(file, start, at, size_at)
            size = large
        following = at + 8 + size + size % 2
        if following > file.size + 1:
            return Part(start, file.size, following - file.size)
        if name in (b"fmt ", b"COMM"):
            bits = file.get(at + (22 if name == b"fmt " else 14), 2)
        if name in (b"data", b"SSND") and (part := _goes_on(file, Part(start, following), at, _KINDS.get((bits, big)))):
            return part
        at = following
    return clipped(file, start, min(at, file.size))


def _unsized(file: Bytes, start: int, at: int, size_at: int) -> Part:
    """
    What a recorder that crashed has left, its sound in the chunk *at*.

    In RF64 the size stands at *size_at*, and nothing would be read by a wrong one; the samples aren't counted.
    """
    patch = struct.pack("<QQ", file.size - at - 8, 0) if size_at else b""
    return Part(start, file.size, patched=size_at, patch=patch)


def _goes_on(file: Bytes, part: Part, at: int, kind: str | None) -> Part | None:
    """*part*, whose sound is in the chunk *at*, to the file's end, where it goes on there."""
    if kind is None:
        return None
    big = kind[0] == ">"
    return longer(file, part, at + (16 if big else 8), kind, patched=at + 4, patch=">I" if big else "<I")


def longer(file: Bytes, part: Part, sound: int, kind: str, *, patched: int, patch: str) -> Part | None:
    """
    *part* to the file's end, where its sound goes on there that its header stops short of.

    Args:
        file: The file.
        part: The sound to the end that is claimed.
        sound: Where the sound begins.
        kind: Its samples, as numpy calls them.
        patched: Where its size stands.
        patch: How that is written.

    Returns:
        None where what follows isn't sound as what comes before it is.
    """
    rest, width = file.size - part.end, int(kind[2])
    if rest < LEAST_REST or is_name(file.get(part.end, 4)) or rest >= UNKNOWN_SIZE:
        return None
    end = part.end - (part.end - sound) % width
    if min(_likeness(file.get(sound, 65_536), kind), _likeness(file.get(end, 65_536), kind)) <= LEAST_LIKE:
        return None
    return Part(
        part.start, file.size, patched=patched, patch=struct.pack(patch, file.size - patched - struct.calcsize(patch))
    )


def _likeness(data: bytes, kind: str) -> float:
    """How alike neighbours are: in sound they are, in other data they aren't."""
    order, width = kind[0], int(kind[2])
    rows = np.frombuffer(data[: len(data) // width * width], np.uint8).reshape(-1, width)
    # Of whole numbers the upper two bytes tell enough.
    top = rows[:, :2] if order == ">" else rows[:, -2:]
    values = np.ascontiguousarray(top).view(f"{order}i2").reshape(-1).astype(np.float64)
    power = float(values @ values)
    # The next sample of any channel: two apart is the same channel in stereo, and near enough in mono.
    return float(values[:-2] @ values[2:]) / power if power else 0.0
