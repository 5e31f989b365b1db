"""Lengths that files claim, and demuxers that stumble: by what is asked of FFmpeg's objects, without any file."""

import os
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition

from tests import audio_files
from transcription.errors import CorruptAudio, NoAudioStream, TooLong, UnsupportedMedia
from transcription.media.audio import RATE
from transcription.media.codecs import decode, opened, probe, reader
from transcription.media.codecs.claims import cut_short, is_believable
from transcription.media.codecs.frames import PATIENCE, Frames
from transcription.media.containers import file_bytes
from transcription.media.containers.part import Part
from transcription.media.containers.parts import part_at
from transcription.tracks import Track

HOUR_S = 3600.0


def container(name: str, seconds: float, *, kinds: tuple[str, ...] = ("audio",)) -> Any:
    """A container whose one track claims so many seconds."""
    sound = SimpleNamespace(type="audio", duration=round(seconds * 1000), start_time=0, time_base=Fraction(1, 1000))
    every = [sound if kind == "audio" else SimpleNamespace(type=kind) for kind in kinds]

    class Streams(list[Any]):
        audio = (sound,)

    return SimpleNamespace(format=SimpleNamespace(name=name), start_time=0, duration=None, streams=Streams(every))


def track(codec: str = "pcm_s16le") -> Track:
    return Track(number=1, codec=codec, channels=1, sample_rate=16_000)


class Bytes:
    """A file's bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def get(self, position: int, count: int) -> bytes:
        return self._data[position : position + count]


def believed(name: str, seconds: float, size: int, **how: Any) -> bool:
    codec = how.pop("codec", "pcm_s16le")
    file: Any = Bytes(how.pop("data", b""))
    return is_believable(container(name, seconds, **how), track(codec), Part(0, size), file, limit_s=HOUR_S)


def test_a_claim_is_believed_where_a_header_says_it_and_the_bytes_can_be_so_long() -> None:
    assert believed("wav", 10.0, 320_044)
    assert not believed("wav", 10.0, 900), "a few bytes claim ten seconds"
    assert not believed("wav", 0.1, 3_200_000), "megabytes claim a moment"
    assert not believed("wav", HOUR_S + 1, 120_000_000), "longer than is allowed"
    assert not believed("wav", 0.0, 320_044), "nothing is claimed"
    assert not believed("mp3", 10.0, 80_000, codec="mp3"), "FFmpeg's guess"
    assert believed("mp3", 10.0, 80_000, codec="mp3", data=b"\xff\xfb" + bytes(34) + b"Xing" + bytes(100))
    assert believed("mov,mp4,m4a,3gp,3g2,mj2", 10.0, 50_000_000, kinds=("video", "audio"))
    assert not believed("mov,mp4,m4a,3gp,3g2,mj2", 10.0, 200_000_000, kinds=("video", "audio"))


def missing_s(name: str, seconds: float, heard_s: float, *, part: Part, size: int = 320_000, last: bytes = b"") -> Any:
    file: Any = Bytes(bytes(size - len(last)) + last)
    return cut_short(container(name, seconds), track(), part, file, heard_s=heard_s, seen_s=heard_s)


def test_what_a_header_claims_beyond_the_sound_is_missing_and_a_little_less_is_not() -> None:
    whole = Part(0, 320_000)
    assert missing_s("wav", 10.0, 6.0, part=whole) == pytest.approx(4.0)
    assert missing_s("wav", 10.0, 9.8, part=whole) is None
    assert missing_s("wav", 1000.0, 992.0, part=whole) is None  # a hundredth
    assert missing_s("mp3", 10.0, 6.0, part=whole) is None  # only a guess
    assert missing_s("wav", 10.0, 6.0, part=Part(0, 320_000, goes_on=True)) is None
    # By its bytes, where the claim doesn't say it: half as many again are missing.
    assert missing_s("mp3", 0.0, 6.0, part=Part(0, 320_000, missing=160_000)) == pytest.approx(3.0)
    assert missing_s("mpegts", 0.0, 6.0, part=whole) == 0.0
    assert missing_s("mpegts", 0.0, 6.0, part=whole, last=b"G" + bytes(187)) is None


class Stumbling:
    """A demuxer whose reads fail where *steps* hold no packet."""

    def __init__(self, *steps: Any) -> None:
        self.format = SimpleNamespace(name="wav")
        self.streams = [SimpleNamespace(index=0)]
        self.start_time = None
        self.asked = 0
        self._steps = list(steps)

    def demux(self) -> Iterator[Any]:
        self.asked += 1
        assert self.asked <= 10 * PATIENCE, "it is asked for ever"
        while self._steps:
            step = self._steps.pop(0) if len(self._steps) > 1 or self._steps[0] is not None else None
            if step is None:
                raise av.FFmpegError(1, "Invalid data found")
            yield step


def packet(number: int) -> Any:
    return SimpleNamespace(stream_index=0, pts=None, time_base=None, pos=None, size=10, number=number)


def packets(demuxer: Any) -> list[int]:
    file: Any = SimpleNamespace(tell=lambda: 0)
    return [found.number for found in Frames(demuxer, demuxer.streams[0], file)._packets()]  # type: ignore[attr-defined]


def test_a_demuxer_s_error_is_not_the_end_of_the_sound() -> None:
    assert packets(Stumbling(packet(1), None, None, packet(2), None, packet(3))) == [1, 2, 3]


def test_a_demuxer_that_goes_on_no_more_is_given_up() -> None:
    demuxer = Stumbling(packet(1), None)  # the last step stays
    assert packets(demuxer) == [1]
    assert demuxer.asked == PATIENCE


def test_samples_are_written_whole_though_the_disk_takes_little_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, content = os.write, os.urandom(100)
    with (tmp_path / "pcm").open("wb") as file, monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
        decode._write(file.fileno(), content)
    assert (tmp_path / "pcm").read_bytes() == content


def test_a_recording_is_measured_for_some_seconds_and_then_its_claim_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path := tmp_path / "a.aac").write_bytes(audio_files.encoded("adts", "aac", seconds=3))
    with path.open("rb") as file:
        part = part_at(file_bytes.Bytes(file.fileno()), 0)
        assert probe._measured_s(file, part, track("aac"), 1234.0, limit_s=9999) == pytest.approx(3.0, abs=0.2)
        with pytest.raises(TooLong, match="the limit is 1 s"):
            probe._measured_s(file, part, track("aac"), 1234.0, limit_s=1)
        monkeypatch.setattr(probe, "_MEASURING_S", -1.0)
        assert probe._measured_s(file, part, track("aac"), 1234.0, limit_s=9999) == 1234.0


def test_of_containers_one_after_the_other_so_many_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path := tmp_path / "a.wav").write_bytes(audio_files.wav(0.5) * 6)
    assert decode.decode(path, limit_s=60).size == pytest.approx(3.0 * RATE, abs=10)
    monkeypatch.setattr(reader, "MOST_PARTS", 3)
    assert decode.decode(path, limit_s=60).size == pytest.approx(1.5 * RATE, abs=10)


@pytest.mark.parametrize(
    "head",
    [
        b"ID3\4",
        b"RIFF\0\0\0\0WAVE",
        b"fLaC",
        b"OggS",
        b"\x1aE\xdf\xa3",
        b"\0\0\0 ftypM4A ",
        b"FLV\1",
        b"caff\0\1",
        b"TTA1",
    ],
)
def test_a_container_that_is_known_and_can_not_be_read_is_damaged_and_anything_else_unsupported(
    head: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unread(_: object) -> None:
        raise av.FFmpegError(1, "Invalid data found")

    monkeypatch.setattr(opened, "open_part", unread)
    monkeypatch.setattr(opened, "lacks_index", lambda *_: False)
    for content, error in ((head, CorruptAudio), (b"\0" + head, UnsupportedMedia)):
        (tmp_path / "audio").write_bytes(content.ljust(100, b"-"))
        with (tmp_path / "audio").open("rb") as file, pytest.raises(error) as caught:
            opened.open_first(file_bytes.Bytes(file.fileno()), file.fileno())
        assert type(caught.value) is error


@pytest.mark.parametrize(("tag", "language"), [(None, None), ("und", None), ("ger", "de"), ("tlh", "tlh")])
def test_a_track_s_language_is_its_code_or_its_tag_and_an_undetermined_one_is_none(
    tag: str | None, language: str | None
) -> None:
    context = SimpleNamespace(name="aac", sample_rate=48_000, layout=SimpleNamespace(nb_channels=2, name="stereo"))
    stream = SimpleNamespace(language=tag, codec_context=context, metadata={}, disposition=Disposition.default)
    made: Any = SimpleNamespace(streams=SimpleNamespace(audio=[stream]))
    (found,) = opened.tracks_of(made)
    assert (found.number, found.language, found.channels) == (1, language, 2)


class Parts:
    """Bounds of containers in a file of *size*, and what becomes of each: sound, or an error."""

    def __init__(self, patch: pytest.MonkeyPatch, size: int, parts: dict[tuple[int, int], Exception | None]) -> None:
        self.opened: list[int] = []
        self._of = {start: (Part(start, end), error) for (start, end), error in parts.items()}
        first = SimpleNamespace(part=self._of[min(self._of)][0])
        patch.setattr(reader, "open_first", lambda *_: (first, None))
        patch.setattr(reader, "behind_tags", lambda _, at: at)
        patch.setattr(reader, "part_at", lambda _, at: self._of[at][0])
        patch.setattr(reader, "next_start", lambda _, at: min((one for one in self._of if one >= at), default=size))
        patch.setattr(reader, "Bytes", lambda _: Bytes(b"." * size))
        self.reader = reader.Reader(0, limit_s=60, track=None, language=None)
        patch.setattr(self.reader, "_part", self._heard)

    def _heard(self, part: Part, _: object = None) -> Iterator[Any]:
        self.opened.append(part.start)
        error = self._of[part.start][1]
        if error:
            raise error
        yield np.zeros(16, np.int16)

    def told(self) -> tuple[int, list[tuple[int, int]]]:
        """Parts that were heard, and the bytes that were told to be none: where, how many."""
        heard = len(list(self.reader.blocks()))
        said = [re.findall(r"\d+", warning.message) for warning in self.reader.warnings]
        return heard, [(int(at), int(count)) for count, at in said]


def test_what_stands_between_and_behind_containers_is_told_and_the_others_are_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unread, film = UnsupportedMedia("it can't be read"), NoAudioStream("only video")
    bounds = {(30, 100): None, (120, 200): unread, (200, 300): film, (320, 400): None, (415, 500): None}
    parts = Parts(monkeypatch, 540, bounds)
    assert parts.told() == (3, [(0, 30), (100, 20), (120, 80), (300, 20), (500, 40)])
    assert parts.opened == [30, 120, 200, 320, 415]


def test_of_containers_that_can_not_be_read_so_many_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    error = UnsupportedMedia("it can't be read")
    bounds: dict[tuple[int, int], Exception | None] = {
        (n * 100, n * 100 + 100): error if n else None for n in range(50)
    }
    parts = Parts(monkeypatch, 5000, bounds)
    monkeypatch.setattr(reader, "MOST_FAULTS", 2)
    assert parts.told() == (1, [(100, 100), (200, 100), (300, 4700)])
    assert parts.opened == [0, 100, 200]
