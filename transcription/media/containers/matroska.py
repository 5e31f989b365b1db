"""Matroska and WebM: elements, whose size a live recording doesn't know."""

from transcription.media.containers.file_bytes import Bytes
from transcription.media.containers.part import MOST_HITS, MOST_STEPS, Part, clipped

EBML = b"\x1aE\xdf\xa3"
_SEGMENT = b"\x18S\x80g"
_CLUSTER = bytes.fromhex("1f43b675")
# Head, info, tracks, cues, chapters, tags, attachments, void, check sum; of a cluster: time, place, sizes, blocks.
_OF_A_SEGMENT = {
    _CLUSTER,
    *map(bytes.fromhex, ["114d9b74", "1549a966", "1654ae6b", "1c53bb6b", "1043a770", "1254c367", "1941a469"]),
    *map(bytes.fromhex, ["ec", "bf", "e7", "a7", "ab", "5854", "a3", "a0", "af"]),
}


def matroska(file: Bytes, start: int) -> Part:
    """A segment of its own size, or the elements of a live one up to another file's first one."""
    size, body = _vint(file, start + 4)
    at = body + (size or 0)
    if file.get(at, 4) != _SEGMENT:
        return Part(start, file.size)
    size, body = _vint(file, at + 4)
    if size is not None:
        return clipped(file, start, body + size)
    return _live(file, start, body)


def _live(file: Bytes, start: int, at: int) -> Part:
    for _ in range(MOST_STEPS):
        name = file.get(at, 4)
        if len(name) < 4 or name == EBML:
            break
        length = 9 - name[0].bit_length() if name[0] else 9
        if length > 4 or name[:length] not in _OF_A_SEGMENT:
            return Part(start, _next_file(file, at))
        size, body = _vint(file, at + length)
        # A cluster of no known size ends with its last block: what it holds stands in a row with what follows it.
        if size is not None and body + size > file.size:
            return Part(start, file.size, body + size - file.size)
        at = body if name[:length] == _CLUSTER else body + (size or 0)
    return Part(start, min(at, file.size))


def _next_file(file: Bytes, at: int) -> int:
    for _ in range(MOST_HITS):
        at = file.find((EBML,), at)
        if at >= file.size or b"webm" in file.get(at, 64) or b"matroska" in file.get(at, 64):
            break
        at += 1
    return min(at, file.size)


def _vint(file: Bytes, at: int) -> tuple[int | None, int]:
    """A number of EBML's at *at*, None for «unknown», and where what it tells of begins."""
    first = file.get(at, 1)[0] if at < file.size else 0
    length = 9 - first.bit_length() if first else 8
    value = int.from_bytes(file.get(at, length), "big") & ((1 << 7 * length) - 1)
    return (None if value == (1 << 7 * length) - 1 else value), at + length
