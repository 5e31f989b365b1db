"""Where one container ends and another begins, by bytes that are written down."""

import struct

import pytest

from transcription.media.containers import amr, boxes, parts
from transcription.media.containers.part import Part
from transcription.media.containers.parts import behind_junk, is_padding, next_start, part_at, resumed

ASF, ASF_DATA = parts._ASF, parts._ASF_DATA
TAG = b"ID3\4\0\0\0\0\0\x0a" + bytes(10)
WAVE = b"RIFF\x24\0\0\0WAVEfmt " + bytes(40)
MP4 = b"\0\0\0 ftypM4A " + bytes(20)
JUNK = b"-" * 50


class Bytes:
    """A file that is in memory."""

    def __init__(self, *pieces: bytes) -> None:
        self.data = b"".join(pieces)
        self.size = len(self.data)

    def get(self, position: int, count: int) -> bytes:
        return self.data[position : position + count]

    def find(self, marks: tuple[bytes, ...], position: int) -> int:
        return min((at for mark in marks if (at := self.data.find(mark, position)) >= 0), default=self.size)


def part(*pieces: bytes, at: int = 0) -> Part:
    return part_at(Bytes(*pieces), at)  # type: ignore[arg-type]


def start(*pieces: bytes, at: int = 0) -> int:
    return next_start(Bytes(*pieces), at)  # type: ignore[arg-type]


def flv(*kinds: int) -> bytes:
    """A file whose every tag holds what looks like another file's beginning."""
    tags = [struct.pack(">I", kind << 24 | 5) + bytes(7) + b"FLV\1-" + bytes(4) for kind in kinds]
    return b"FLV\1\5\0\0\0\x09" + bytes(4) + b"".join(tags)


def test_an_flv_s_tags_are_walked_to_the_next_file_or_to_the_hole_in_them() -> None:
    first = flv(8, 18, 9)
    assert part(first, flv(8)) == Part(0, len(first))
    assert part(first, JUNK, flv(8)) == Part(0, len(first) + len(JUNK))


def asf(identity: bytes, size: int, there: int | None = None) -> bytes:
    return (identity + struct.pack("<Q", size)).ljust(size if there is None else there, b"-")


def test_an_asf_ends_where_the_next_begins_and_tells_how_much_is_cut_off() -> None:
    first = asf(ASF, 30) + asf(b"." * 16, 40)
    assert part(first, asf(ASF, 30)) == Part(0, len(first))
    assert part(first, asf(ASF_DATA, 100, there=60)) == Part(0, len(first) + 60, missing=40)
    assert part(ASF, bytes(4)) == Part(0, 20), "a container of no length would be looked at for ever"


def page(flags: int) -> bytes:
    return b"OggS\0" + bytes([flags]) + bytes(20) + b"\2" + b"\x0a\x14" + bytes(30)


def test_an_ogg_is_one_link_of_its_chain_with_all_its_streams_and_holes() -> None:
    link = page(2) + page(0) + page(4)
    assert part(link) == Part(0, len(link))
    assert part(link, link) == Part(0, len(link))
    two_streams = page(2) + page(2) + page(0) + page(4)
    assert part(two_streams) == Part(0, len(two_streams))
    assert part(page(2), page(0), JUNK, page(4)) == Part(0, len(link) + 50, broken=50)
    cut = part(page(2), page(0), page(0)[:-10])
    assert (cut.end, cut.missing) == (len(link) - 10, 10)


def block(index: int, flags: int) -> bytes:
    return struct.pack("<4sI8xI4xI", b"wvpk", 20 + 12, index, flags) + bytes(12)


def test_a_wavpack_ends_at_another_s_first_block_or_at_a_tag_and_goes_on_behind_a_hole() -> None:
    first = block(0, 0x800) + block(0, 0x1000) + block(100, 0x800)
    assert part(first, block(0, 0x800)) == Part(0, len(first))
    assert part(first, b"APETAGEX", bytes(40)) == Part(0, len(first))
    file = Bytes(block(0, 0x800), JUNK, block(100, 0x800))
    assert resumed(file, Part(0, file.size), 45) == Part(90, file.size)  # type: ignore[arg-type]
    assert resumed(file, Part(0, file.size), 95) is None  # type: ignore[arg-type]


def test_a_tta_is_as_long_as_its_table_says() -> None:
    def tta(rate: int) -> bytes:
        sizes = struct.pack("<3I", 100, 200, 50)
        return b"TTA1\1\0\1\0\x10\0" + struct.pack("<II", rate, 40_000) + bytes(4) + sizes + bytes(4 + 350)

    assert part(tta(16_000), JUNK) == Part(0, len(tta(16_000)))
    assert part(tta(0), JUNK) == Part(0, len(tta(0)) + 50)


@pytest.mark.parametrize(("claimed", "end"), [(100, 132), (0xFFFFFFFF, 250), (0, 250)])
def test_an_au_is_as_long_as_its_header_says_if_it_knows(claimed: int, end: int) -> None:
    head = struct.pack(">4sIII", b".snd", 32, claimed, 1).ljust(32, b"\0")
    assert part(head.ljust(250, b"-")) == Part(0, end)


def test_a_tag_is_leapt_over_where_no_demuxer_expects_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert part(TAG, WAVE).start == len(TAG)
    assert part(TAG, b"fLaC\0\0\0\x22", bytes(100)).start == 0
    monkeypatch.setattr(parts, "mpeg_audio", lambda *_: Part(0, 40))
    assert part(TAG, JUNK) == Part(0, 40), "what has a tag and is nothing else is an mp3"


def test_an_amr_and_an_mp4_are_taken_up_behind_their_holes(monkeypatch: pytest.MonkeyPatch) -> None:
    rest = Part(60, 100)
    monkeypatch.setattr(amr, "amr_again", lambda *_: rest)
    monkeypatch.setattr(boxes, "boxes_again", lambda *_: rest)
    for head, whole, expected in (
        (b"#!AMR\n", Part(0, 100, broken=1), rest), (b"#!AMR\n", Part(0, 100), None),
        (MP4, Part(0, 100), rest), (WAVE, Part(0, 100), None),
    ):  # fmt: skip
        file = Bytes(head.ljust(100, b"-"))
        assert resumed(file, whole, 50) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("head", [WAVE, MP4, b"FORM\0\0\0\x24AIFF", b"wvpk", b"OggS\0\2", ASF])
def test_another_container_is_found_by_its_first_bytes_wherever_it_begins(head: bytes) -> None:
    file = JUNK, head, bytes(100)
    assert start(*file) == start(*file, at=50) == 50
    assert start(*file, at=51) == 150 + len(head)
    assert behind_junk(Bytes(*file)) == 50  # type: ignore[arg-type]


def test_an_mp3_is_found_by_its_tag_and_what_only_looks_like_a_container_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert start(JUNK, TAG, bytes(100), at=50) == 50
    assert start(JUNK, b"RIFF\0\0\0\0SFBK", bytes(100)) == 162
    monkeypatch.setattr(parts, "MOST_JUNK", 50)
    assert behind_junk(Bytes(JUNK, WAVE)) is None  # type: ignore[arg-type]


@pytest.mark.parametrize("rest", [b"", b"\0\0\xff\n\r ", b"TAG" + b"x" * 125, b"APETAGEX" + b"x" * 40, b"LYRICSBEGIN"])
def test_tags_and_filling_are_nothing_that_anybody_misses(rest: bytes) -> None:
    assert is_padding(rest)
    assert not is_padding(b"\0\0 sound")
