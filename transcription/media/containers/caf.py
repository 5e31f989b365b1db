"""CAF: chunks, of which the table of packets is often the last one."""

from transcription.media.containers.file_bytes import Bytes
from transcription.media.containers.part import MOST_STEPS, Part, clipped, is_name


def caf(file: Bytes, start: int) -> Part:
    """One chunk after the other, up to another file's first one."""
    at = start + 8
    for _ in range(MOST_STEPS):
        head = file.get(at, 12)
        if len(head) < 12 or not is_name(head[:4]) or head[:8] == b"caff\x00\x01\x00\x00":
            break
        size = int.from_bytes(head[4:12], "big", signed=True)
        if size < 0:
            return Part(start, file.size)
        at += 12 + size
        if at > file.size:
            return Part(start, file.size, at - file.size)
    return clipped(file, start, at)


def lacks_index(file: Bytes, part: Part) -> bool:
    """Whether *part* has no table of packets, nor room for it behind its sound."""
    at = part.start + 8
    for _ in range(MOST_STEPS):
        head = file.get(at, 12)
        size = int.from_bytes(head[4:12], "big", signed=True)
        if len(head) < 12 or size < 0 or head[:4] == b"pakt":
            break
        at += 12 + size
    return file.get(at, 4) != b"pakt"
