"""MP3, AAC and FLAC with tags: where one file ends and the next begins, and tags in the middle of one."""

from transcription.media.containers.file_bytes import Bytes
from transcription.media.containers.part import MOST_HITS, Part

FLAC = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")
TAG_HEAD = 10
MOST_TAGS = 64
LONG_TAG = 1 << 18
"""Bytes of a tag that a demuxer's look at a file's first bytes may not get over."""

_XING = (b"Xing", b"Info", b"VBRI")
# Where they stand behind the first byte of an MP3's first frame: after its head and its side information.
_XING_AT = (13, 21, 36)
_ID3 = b"ID3"


def tag_bytes(file: Bytes, at: int) -> int:
    """The length of the ID3v2 tag at *at*, 0 where there is none."""
    head = file.get(at, TAG_HEAD)
    if len(head) < TAG_HEAD or head[:3] != _ID3 or head[3] not in (2, 3, 4) or head[5] & 15 or max(head[6:]) > 127:
        return 0
    size = sum(byte << 7 * (3 - place) for place, byte in enumerate(head[6:]))
    return TAG_HEAD + size + (TAG_HEAD if head[5] & 16 else 0)


def behind_tags(file: Bytes, at: int) -> int:
    """Where what the tags at *at* belong to begins."""
    for _ in range(MOST_TAGS):
        size = tag_bytes(file, at)
        if not size:
            break
        at += size
    return at


def is_frame(head: bytes) -> bool:
    """Whether *head* is a frame's of MP3 or of AAC in ADTS."""
    if len(head) < 4 or head[0] != 0xFF:
        return False
    adts = head[1] & 0xF6 == 0xF0 and head[2] >> 2 & 15 < 13
    layer, rate = head[1] & 0xE6 > 0xE0, head[2] >> 4 not in (0, 15) and head[2] & 12 != 12
    return adts or (layer and rate and head[1] & 0x18 != 0x08)


def mpeg_audio(file: Bytes, start: int) -> Part:
    """
    A bare stream: up to a tag with more of it behind, or to another one's first frame, which says its length.

    Where a tag stands in the midst of a recording the claim of its first frame is all of it: it isn't cut off there.
    """
    begin = behind_tags(file, start)
    at = begin + 4
    for _ in range(MOST_HITS):
        at = file.find((_ID3, *_XING), at)
        if at >= file.size:
            break
        if file.get(at, 3) == _ID3:
            behind = behind_tags(file, at)
            if at < behind < file.size:
                return Part(begin_of(start, begin), at, goes_on=not _says_length(file, behind))
        elif (first := _first_frame(file, at)) > begin:
            return Part(begin_of(start, begin), first)
        at += 3
    return Part(begin_of(start, begin), file.size)


def begin_of(start: int, behind: int) -> int:
    """Where a part begins whose tags, from *start* on, end at *behind*: long ones are left out."""
    return behind if behind - start > LONG_TAG else start


def flac(file: Bytes, start: int) -> Part:
    """A FLAC stream, up to the next one or its tags."""
    at = behind_tags(file, start) + 4
    for _ in range(MOST_HITS):
        at = file.find((*FLAC, _ID3), at)
        if at >= file.size or file.get(at, 4) == b"fLaC":
            break
        behind = behind_tags(file, at)
        if behind > at and file.get(behind, 8) in FLAC:
            break
        at += 3
    return Part(start, min(at, file.size))


def _says_length(file: Bytes, frame: int) -> bool:
    head = file.get(frame, 64)
    return head[:4] == b"fLaC" or any(head[at : at + 4] in _XING for at in _XING_AT)


def _first_frame(file: Bytes, mark: int) -> int:
    """The frame that *mark*, which tells a length, stands in; 0 where it is no mark."""
    found = [mark - at for at in _XING_AT if mark >= at and is_frame(file.get(mark - at, 4))]
    return found[0] if found else 0
