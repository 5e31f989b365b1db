"""Containers that are rows of pages or frames, and say nowhere how long they are: Ogg, FLAC, AMR, WavPack."""

import struct

from transcription.media.codecs.bounds import BLOCK, MOST_STEPS, Bytes, Part, clipped

FLAC = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
AMR = {b"#!AMR\n": (12, 13, 15, 17, 19, 20, 26, 31, 5), b"#!AMR-WB\n": (17, 23, 32, 36, 40, 46, 50, 58, 60, 5)}
_AMR_ROW, _LEAST_AMR = 12, 6
_FIRST_OF_CHANNELS = 0x800


def ogg(file: Bytes, start: int) -> Part:
    """One link of a chain: up to the first page of a stream that begins after the others have begun."""
    at, begun, ended, broken = start, False, False, 0
    for _ in range(MOST_STEPS):
        head = file.get(at, 27)
        if len(head) < 27:
            break
        if head[:4] != b"OggS":
            again = file.find((b"OggS",), at + 1)
            at, broken = again, broken + again - at
            continue
        begins = bool(head[5] & 2)
        if begins and begun:
            return Part(start, at, broken=broken)
        begun, ended = begun or not begins, bool(head[5] & 4)
        lacing = file.get(at + 27, head[26])
        at += 27 + head[26] + sum(lacing)
    return Part(start, file.size, 0 if ended else max(1, at - file.size), broken=broken)


def flac(file: Bytes, start: int) -> Part:
    """FLAC: up to the next file's mark."""
    return Part(start, file.find(FLAC, start + 4))


def amr(file: Bytes, start: int) -> Part:
    """AMR: one frame after the other, each as long as its first byte says."""
    mark = next(mark for mark in AMR if file.get(start, len(mark)) == mark)
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
    sizes, kind = AMR[mark], head >> 3 & 15
    return 1 + (sizes[kind] if kind < len(sizes) else 0)


def amr_again(file: Bytes, part: Part) -> Part | None:
    """What follows a hole: frames have no mark, so that a row of some like each other is looked for."""
    mark = next(mark for mark in AMR if file.get(part.start, len(mark)) == mark or part.patch == mark)
    for again in range(part.end + 1, min(file.size, part.end + BLOCK)):
        kind, at = file.get(again, 1)[0], again
        step = _amr_frame(mark, kind)
        if kind & 0x87 != 0x04 or step < _LEAST_AMR:
            continue
        if all(file.get(at + n * step, 1) == file.get(again, 1) for n in range(_AMR_ROW)):
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


def wavpack(file: Bytes, start: int) -> Part:
    """Blocks, each with the number of its first sample: where that is 0 again, another file begins."""
    at = start
    for _ in range(MOST_STEPS):
        head = file.get(at, 28)
        if head[:8] == b"APETAGEX":  # what a file ends with
            return Part(start, at)
        if len(head) < 28 or head[:4] != b"wvpk":
            break
        size, index, flags = struct.unpack("<4xI8xI4xI", head)
        if index == 0 and flags & _FIRST_OF_CHANNELS and at > start:
            return Part(start, at)
        at += 8 + size
    return Part(start, file.size)
