"""AMR: frames without a mark, whose first byte says how long each is."""

from transcription.media.containers.file_bytes import BLOCK, Bytes
from transcription.media.containers.part import MOST_STEPS, Part, clipped

MARKS = {b"#!AMR\n": (12, 13, 15, 17, 19, 20, 26, 31, 5), b"#!AMR-WB\n": (17, 23, 32, 36, 40, 46, 50, 58, 60, 5)}
"""What a file begins with, and the sizes of its frames by kind."""

_ROW, _LEAST = 12, 6


def amr(file: Bytes, start: int) -> Part:
    """One frame after the other, up to a hole or another file."""
    mark = next(mark for mark in MARKS if file.get(start, len(mark)) == mark)
    at = start + len(mark)
    for _ in range(MOST_STEPS):
        head = file.get(at, len(mark))
        if not head or head == mark:
            break
        if head[0] & 0x83:  # bits that are 0 in every frame
            return Part(start, at, broken=1)
        at += _amr_frame(mark, head[0])
    return clipped(file, start, at)


def _amr_frame(mark: bytes, head: int) -> int:
    """Bytes of a frame that begins with *head*."""
    sizes, kind = MARKS[mark], head >> 3 & 15
    return 1 + (sizes[kind] if kind < len(sizes) else 0)


def amr_again(file: Bytes, part: Part) -> Part | None:
    """What follows a hole: frames have no mark, so that a row of some like each other is looked for."""
    mark = next(mark for mark in MARKS if file.get(part.start, len(mark)) == mark or part.patch == mark)
    for again in range(part.end + 1, min(file.size, part.end + BLOCK)):
        kind, at = file.get(again, 1)[0], again
        step = _amr_frame(mark, kind)
        if kind & 0x87 != 0x04 or step < _LEAST:
            continue
        if all(file.get(at + n * step, 1) == file.get(again, 1) for n in range(_ROW)):
            rest = _amr_rest(file, mark, again)
            begin = again - len(mark)
            return Part(begin, rest.end, patched=begin, patch=mark, broken=rest.broken, behind=again - part.end)
    return None


def _amr_rest(file: Bytes, mark: bytes, at: int) -> Part:
    for _ in range(MOST_STEPS):
        head = file.get(at, len(mark))
        if not head or head == mark:
            break
        if head[0] & 0x83:
            return Part(at, at, broken=1)
        at += _amr_frame(mark, head[0])
    return Part(at, min(at, file.size))
