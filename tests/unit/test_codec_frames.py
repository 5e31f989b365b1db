"""Frames and what a reader makes of them: damage, gaps and tracks of a container that is made up."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame

from transcription.errors import InvalidOption
from transcription.media.audio import Pcm
from transcription.media.codecs import reader
from transcription.media.codecs.frames import PATIENCE, Frames, Placed
from transcription.media.codecs.reader import Reader
from transcription.tracks import Track

RATE = 16_000
STEP = RATE // 10
"""Samples of a packet: a tenth of a second."""


class Packet:
    """A packet of *size* bytes at *at*; None for *content*: it can't be decoded."""

    def __init__(self, at: int, size: int = 400, *, content: bytes | None = b"\0", stream: int = 0) -> None:
        self.pos, self.size, self.stream_index, self._content = at, size, stream, content
        self.pts: int | None = None
        self.duration, self.time_base = STEP, Fraction(1, RATE)

    def __bytes__(self) -> bytes:
        return (self._content or b"").ljust(self.size, b"\0")

    def decode(self) -> list[AudioFrame]:
        if not self._content:
            raise av.FFmpegError(1, "Invalid data found")
        frame = AudioFrame(format="s16", layout="mono", samples=STEP)
        frame.sample_rate, frame.pts, frame.time_base = RATE, self.pts, self.time_base
        return [frame]


def bad(at: int, size: int, content: bytes = b"") -> Packet:
    packet = Packet(at, size, content=content)
    packet.decode = Packet(at, size, content=None).decode  # type: ignore[method-assign]
    return packet


def frames(
    name: str, *steps: Any, codec: str = "mp3", start: int | None = 0, streams: int = 1, read: Any = None
) -> Any:
    """Frames of a container in the format *name*; a step that is an error is one of its demuxer's."""
    left = list(steps)

    def demux() -> Iterator[Any]:
        while left:
            step = left.pop(0)
            if isinstance(step, Exception):
                raise step
            yield step

    stream: Any = SimpleNamespace(index=0, codec_context=SimpleNamespace(name=codec))
    container: Any = SimpleNamespace(
        format=SimpleNamespace(name=name), streams=[stream] * streams, start_time=start, demux=demux
    )
    file: Any = SimpleNamespace(tell=lambda: next(read) if read else 0)
    return Frames(container, stream, file)


def run(count: int, *, at: int = 0, size: int = 400) -> list[Packet]:
    """*count* good packets, one behind the other."""
    return [Packet(at + n * size, size) for n in range(count)]


def losses(found: Any) -> list[tuple[str | None, float | None]]:
    """What was lost, and how much of it the bytes tell."""
    placed: list[Placed] = list(found)
    return [(one.lost, one.lost_s) for one in placed if one.lost]


def test_a_demuxer_is_asked_again_after_each_of_its_errors_as_often_as_it_leads_on() -> None:
    stumbles: list[Any] = [av.FFmpegError(1, "Invalid data found")] * (PATIENCE - 1)
    found = frames("wav", *stumbles, Packet(0), *stumbles, Packet(400), ValueError("another stream"), Packet(800))
    assert len(list(found)) == 3
    for error in ValueError("no such stream"), IndexError("list index out of range"):
        told = [("a stream comes up on the way", 0.0)]
        assert losses(frames("wav", Packet(0), error, Packet(400))) == told, "PyAV knows only those it has begun with"


def test_bytes_that_a_demuxer_leaves_out_are_told_and_a_container_s_headers_are_not() -> None:
    skipping = [Packet(0), Packet(500), Packet(900 + 9000), Packet(900 + 9400)]
    assert losses(frames("matroska,webm", *skipping)) == [("9000 bytes can't be read", 0.0)]
    assert losses(frames("wav", *skipping)) == []  # which keeps other things in between


def test_bytes_that_a_demuxer_without_positions_has_read_and_not_given_are_told() -> None:
    read = iter([2048, 4096, 4096, 4096 + 9000, 4096 + 9000])
    packets = [Packet(0, 1000) for _ in range(5)]
    ((lost, _),) = losses(frames("aac", *packets, codec="aac", read=read))
    assert lost == "8048 bytes can't be read"


def test_a_packet_that_is_far_too_long_holds_no_frame_unless_it_is_a_tag() -> None:
    good = run(20)
    assert losses(frames("mp3", *good, Packet(8000, 40_000), *run(1, at=48_000))) == [
        ("40000 bytes hold no frame", pytest.approx(10.0))
    ]
    assert losses(frames("mp3", *good, Packet(8000, 40_000, content=b"..ID3"))) == []
    assert losses(frames("wav", *good, Packet(8000, 40_000))) == []


@pytest.mark.parametrize(
    ("packet", "codec", "told"),
    [
        (bad(8000, 400), "mp3", True),
        (bad(8000, 400, b"TAG"), "mp3", False),
        (bad(8000, 0), "mp3", False),
        (bad(8000, 8), "mp3", True),
        (bad(8000, 8), "amrnb", False),
        (bad(8000, 9), "amrnb", True),
    ],
    ids=["damaged", "tag", "empty", "short", "comfort noise", "damaged speech"],
)
def test_a_packet_that_can_not_be_decoded_is_a_damage_unless_it_never_held_sound(
    packet: Packet, codec: str, *, told: bool
) -> None:
    found = losses(frames("mp3", *run(20), packet, *run(1, at=8400), codec=codec))
    assert [lost for lost, _ in found] == ["Invalid data found"] * told


def test_what_is_missing_is_as_long_as_the_lost_bytes_would_have_been_and_each_loss_counts_by_itself() -> None:
    """Forty bytes are ten milliseconds; what is swallowed and can't be decoded either is lost once."""
    first = [*run(20), bad(8000, 40_000)]
    second = [*run(30, at=48_000), bad(60_000, 4000), *run(1, at=64_000)]
    assert losses(frames("mp3", *first, *second)) == [
        ("Invalid data found", pytest.approx(10.0)),
        ("Invalid data found", pytest.approx(1.0)),
    ]


def test_nobody_can_say_how_long_lost_bytes_are_before_a_second_was_heard() -> None:
    assert losses(frames("mp3", *run(5), bad(2000, 4000), *run(1, at=6000))) == [("Invalid data found", None)]


@pytest.mark.parametrize(("streams", "expected"), [(1, pytest.approx(1.0)), (2, 0.0)])
def test_an_avi_of_sound_alone_has_no_other_clock_than_its_bytes(streams: int, expected: float) -> None:
    found = frames("avi", *run(20), bad(8000, 4000), *run(1, at=12_000), streams=streams)
    assert losses(found) == [("Invalid data found", expected)]


@pytest.mark.parametrize(
    ("name", "start", "expected"),
    [("wav", 10_000_000, 2.0), ("wav", None, 12.0), ("amr", 10_000_000, 2.0), ("mp3", 10_000_000, None)],
)
def test_a_frame_s_time_counts_from_the_container_s_start_and_a_bare_stream_has_none(
    name: str, start: int | None, expected: float | None
) -> None:
    packet = Packet(0)
    packet.pts = 12 * RATE
    found = frames(name, packet, start=start)
    assert [one.time for one in found] == [expected]
    assert found.seen_to == pytest.approx(12.1 - (start or 0) / 1e6)


def sound(value: int) -> AudioFrame:
    """A tenth of a second that is *value* throughout."""
    frame = AudioFrame.from_ndarray(np.full((1, STEP), value, np.int16), format="s16", layout="mono")
    frame.sample_rate = RATE
    return frame


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Reader]:
    """Readers of a file that nobody looks into."""
    monkeypatch.setattr(reader, "Bytes", lambda _: SimpleNamespace(size=0))

    def one(*, track: str | None = None, language: str | None = None, unbroken: bool = False) -> Reader:
        found = Reader(0, limit_s=60, track=track, language=language)
        found._unbroken = unbroken
        found._place.begin()
        return found

    return one


def heard(by: Reader, *placed: Placed) -> np.ndarray:
    """The samples of a file that is nothing but *placed*."""

    def every() -> Iterator[Pcm]:
        for one in placed:
            yield from by._placed(one)
        yield from by._flushed()
        by._end_damage()

    by._sound = every  # type: ignore[method-assign]
    return np.concatenate(list(by.blocks()))


def codes(of: Reader) -> list[str]:
    return [warning.code.value for warning in of.warnings]


@pytest.mark.parametrize(("unbroken", "told"), [(False, []), (True, ["damaged"])])
def test_a_gap_of_the_stamps_is_silence_in_its_place_and_a_loss_where_there_are_no_pauses(
    made: Callable[..., Reader], unbroken: bool, told: list[str]
) -> None:
    by = made(unbroken=unbroken)
    samples = heard(by, Placed(sound(1000), 0.0), Placed(sound(2000), 1.0))
    assert samples.size == 1.1 * RATE
    assert (samples[:STEP] == 1000).all()
    assert not samples[STEP:RATE].any()
    assert (samples[RATE:] == 2000).all()
    assert codes(by) == told


def test_stamps_that_jump_back_are_told_and_make_no_silence(made: Callable[..., Reader]) -> None:
    by = made()
    assert heard(by, Placed(sound(1000), 0.0), Placed(sound(2000), 0.1), Placed(sound(3000), -5.0)).size == 3 * STEP
    assert codes(by) == ["discontinuity"]


TRACKS = [
    Track(number=number, codec="aac", channels=2, sample_rate=48_000, language=language, default=number == 1)
    for number, language in ((1, "en"), (2, "de"))
]


def test_the_track_is_the_asked_one_or_the_language_s_and_a_later_file_that_lacks_it_is_heard(
    made: Callable[..., Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    tracks = list(TRACKS)
    monkeypatch.setattr(reader, "tracks_of", lambda _: tuple(tracks))
    nothing: Any = None
    assert [made(**how)._chosen(nothing).number for how in ({}, {"language": "de"}, {"track": "2"})] == [1, 2, 2]
    with pytest.raises(InvalidOption):
        made(track="3")._chosen(nothing)
    by = made(track="2")
    by._chosen(nothing)
    assert [one.taken for one in by.tracks] == [False, True]
    tracks.pop()
    assert by._chosen(nothing).number == 1


def test_an_empty_track_gives_way_unless_it_was_asked_for(
    made: Callable[..., Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "tracks_of", lambda _: tuple(TRACKS))
    nothing: Any = None
    asked, any_track = made(track="1"), made()
    assert not asked._is_empty(asked._chosen(nothing))
    assert any_track._is_empty(any_track._chosen(nothing))
    assert any_track._chosen(nothing).number == 2
    assert not any_track._is_empty(TRACKS[1]), "there are no others"
