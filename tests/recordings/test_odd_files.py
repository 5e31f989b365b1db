"""Files that recorders, rippers and people make, each with something that no demuxer expects."""

import io
import random
import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream
from av.stream import Disposition

from tests.audio_files import wav_of
from tests.recordings import corpus, measure
from transcription.errors import IndexMissing, NoSamples, TooLong
from transcription.media.audio import RATE
from transcription.media.codecs.probe import listen, probe

SECONDS = 11.04
JUNK = random.Random(2).randbytes(3000).replace(b"\xff", b"\xfe")


def of(name: str) -> bytes:
    return corpus.made(name, "plain")


def tag(size: int, version: int = 4) -> bytes:
    """An ID3 tag of so many bytes."""
    body = random.Random(1).randbytes(size - 10)
    return b"ID3" + bytes([version, 0, 0, *((size - 10 >> 7 * place) & 127 for place in (3, 2, 1, 0))]) + body


def wav(claim: int, *, before: bytes = b"", after: bytes = b"") -> bytes:
    """The sample as a WAV whose `data` claims so many bytes."""
    sound = corpus.speech().tobytes()
    chunk = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    body = b"WAVE" + chunk + before + b"data" + struct.pack("<I", claim) + sound + after
    return b"RIFF" + struct.pack("<I", len(body) & 0xFFFFFFFF) + body


def rf64(*sizes: int) -> bytes:
    """The sample as RF64 that says these sizes of its own, its sound's and its samples' where 32 bits don't do."""
    content = wav(0xFFFFFFFF, before=b"ds64" + struct.pack("<IQQQI", 28, *sizes, 0))
    # That chunk is always the first one.
    at, length = content.index(b"ds64"), 36
    chunk = content[at : at + length]
    rest = content[:at] + content[at + length :]
    return b"RF64\xff\xff\xff\xff" + rest[8:12] + chunk + rest[12:]


LIST = b"LIST" + struct.pack("<I", 16) + b"INFOISFT" + struct.pack("<I", 4) + b"abcd"
SOUND = 353_402
"""Bytes of the sample as 16 bits; it isn't decoded here, so that a fault there fails a test."""
ODD: dict[str, tuple[Callable[[], bytes], set[str]]] = {
    "WAV of size 0 before a LIST": (lambda: wav(0, after=LIST), set()),
    "WAV of no known size": (lambda: wav(0xFFFFFFFF), set()),
    "WAV with a LIST behind its sound": (lambda: wav(SOUND, after=LIST * 3), set()),
    "WAV behind a tag": (lambda: tag(1000, 3) + wav(SOUND), set()),
    "WAV behind junk": (lambda: JUNK + wav(SOUND), {"trailing_data"}),
    "WAV of an odd size": (lambda: wav(SOUND + 1, after=b"\0"), set()),
    "RF64 that says its size": (lambda: rf64(SOUND + 100, SOUND, SOUND // 2), set()),
    "RF64 of a recorder that crashed": (lambda: rf64(0, 0, 0), set()),
    "RF64 of no known size": (lambda: rf64(*[2**64 - 1] * 3), set()),
    "MP3 behind a huge tag": (lambda: tag(2_000_000) + of("MP3"), set()),
    "MP3 behind three tags": (lambda: tag(500) + tag(500, 3) + tag(90) + of("MP3"), set()),
    "MP3 behind junk": (lambda: JUNK + of("MP3"), set()),
    "MP3 with a tag in its midst": (lambda: of("MP3")[:16_000] + tag(50_000) + of("MP3")[16_000:], set()),
    "MP3 with tags at its end": (lambda: of("MP3") + b"APETAGEX" + bytes(400) + b"TAG" + bytes(125), set()),
    "AAC behind a huge tag": (lambda: tag(2_000_000) + of("AAC (ADTS)"), set()),
    "FLAC behind a tag": (lambda: tag(5000) + of("FLAC"), set()),
    "FLAC that doesn't know its length": (lambda: corpus.claiming("FLAC", of("FLAC"), 0), set()),
    "MPEG-TS from the middle of a packet on": (lambda: JUNK[:777] + of("MPEG-TS, AAC"), set()),
}


@pytest.mark.parametrize("name", ODD)
def test_nothing_is_missing_of_a_file_that_no_demuxer_expects(name: str) -> None:
    made, expected = ODD[name]
    recording = measure.recorded(made())
    assert recording.duration_s == pytest.approx(SECONDS, abs=0.2)
    assert measure.share(recording, lambda time: time) > 0.85
    assert {warning.code.value for warning in recording.warnings} == expected


def at_rate(name: str, rate: int) -> bytes:
    form = corpus.FORMS[name]
    return corpus.written(corpus.Form(form.container, form.codec, rate), [corpus.speech()])


@pytest.mark.parametrize(
    "made",
    [
        lambda: at_rate("MP3", 22_050) + at_rate("MP3", 44_100),
        lambda: (tag(4000) + of("MP3")) * 2,
        lambda: (tag(500) + of("FLAC")) * 2,
        lambda: of("FLAC") + at_rate("FLAC", 44_100),
        lambda: of("AAC (ADTS)") + at_rate("AAC (ADTS)", 44_100),
        lambda: rf64(SOUND + 100, SOUND, SOUND // 2) * 2,
        lambda: of("WAV") + of("MP3"),
        lambda: of("MP4, AAC") + of("Matroska, AAC"),
    ],
    ids=[
        "MP3 of two rates",
        "MP3 with tags",
        "FLAC with tags",
        "FLAC of two rates",
        "AAC of two rates",
        "RF64",
        "kinds",
        "kinds that count time otherwise",
    ],
)
def test_two_files_one_after_the_other_are_both_there(made: Callable[[], bytes]) -> None:
    recording = measure.recorded(made())
    assert measure.share(recording, lambda time: time) > measure.MOST
    assert measure.share(recording, lambda time: time + SECONDS) > measure.MOST
    assert not recording.warnings


@pytest.mark.parametrize("size", [96_001, 150_000])
def test_sound_behind_the_end_that_a_header_claims_is_found_in_every_width(size: int) -> None:
    for codec, container, mark, kind in (("pcm_s24le", "wav", b"data", "<I"), ("pcm_s24be", "aiff", b"SSND", ">I")):
        content = bytearray(corpus.written(corpus.Form(container, codec), [corpus.speech()]))
        struct.pack_into(kind, content, content.index(mark) + 4, size)
        assert measure.recorded(bytes(content)).duration_s == pytest.approx(SECONDS, abs=0.1)


def test_a_live_recording_that_breaks_off_says_so() -> None:
    whole = of("WebM, Opus")
    segment = whole.index(b"\x18S\x80g")
    live = whole[: segment + 4] + b"\x01" + b"\xff" * 7 + whole[segment + 12 :]
    assert not measure.recorded(live).warnings
    cut = measure.recorded(live[: len(live) * 6 // 10])
    assert [warning.code.value for warning in cut.warnings] == ["truncated"]
    assert measure.share(cut, lambda time: time) > measure.SOME


@pytest.mark.parametrize("name", ["MP4, AAC", "QuickTime, ALAC", "CAF, ALAC"])
def test_a_file_without_its_index_says_what_is_missing_and_what_to_do(name: str) -> None:
    whole = of(name)
    with pytest.raises(IndexMissing, match=r"before its index.*copy it again"):
        measure.recorded(whole[: len(whole) * 8 // 10])


@pytest.mark.parametrize("container", ["matroska", "mpegts"])
def test_an_empty_track_is_left_for_one_with_sound(container: str) -> None:
    file = io.BytesIO()
    form = corpus.Form(container, "flac" if container == "matroska" else "aac")
    with av.open(file, "w", format=container) as out:
        streams = [out.add_stream(form.codec, rate=form.rate, layout="mono") for _ in range(3)]
        assert isinstance(streams[1], AudioStream)
        corpus.encode(out, streams[1], form, corpus.speech())
    recording = measure.recorded(file.getvalue())
    assert measure.share(recording, lambda time: time) > measure.MOST
    assert [track.number for track in recording.tracks if track.taken] in ([2], [1])  # some muxers drop the empty ones


def test_the_track_that_a_film_is_meant_to_be_heard_by_is_taken_and_each_has_its_title() -> None:
    form, file = corpus.FORMS["Matroska, FLAC"], io.BytesIO()
    with av.open(file, "w", format=form.container) as out:
        streams = [out.add_stream(form.codec, rate=form.rate, layout="mono") for _ in range(2)]
        for stream, title, default in zip(streams, ("Director", "Original"), (0, Disposition.default), strict=True):
            stream.metadata["title"], stream.metadata["language"] = title, "und"
            stream.disposition = Disposition(default)
        for stream, loud in zip(streams, (0, 1), strict=True):
            assert isinstance(stream, AudioStream)
            corpus.encode(out, stream, form, loud * corpus.speech())
    recording = measure.recorded(file.getvalue())
    found = [(one.title, one.language, one.default, one.taken) for one in recording.tracks]
    assert found == [("Director", None, False, False), ("Original", None, True, True)]
    (others,) = recording.warnings
    assert others.message == "track 2 'Original' of 2 was taken (audio_track); the others: 1 'Director'"
    assert (others.count, others.start) == (1, None)
    assert measure.share(recording, lambda time: time) > measure.MOST


@pytest.mark.parametrize("container", ["aiff", "caf", "mov"])
def test_channels_in_an_order_of_their_own_break_nothing(container: str) -> None:
    last = np.zeros((8, corpus.speech().size), np.int16)
    last[-1] = corpus.speech()
    codec = "pcm_s16be" if container == "aiff" else "pcm_s16le"
    recording = measure.recorded(corpus.written(corpus.Form(container, codec), [last], layout="7.1"))
    assert measure.share(recording, lambda time: time) > measure.MOST


def test_sound_that_is_shorter_than_a_sample_is_none() -> None:
    with pytest.raises(NoSamples):
        measure.recorded(wav_of(np.full((2, 1), 1000, np.int16), rate=192_000))


@pytest.mark.parametrize(
    ("behind", "told"),
    [
        (random.Random(3).randbytes(15), []),
        (bytes(100_000), []),
        (random.Random(3).randbytes(16), [16]),
        (bytes(3 << 20), [3 << 20]),
    ],
    ids=["a few bytes", "padding", "junk", "megabytes of nothing"],
)
def test_what_stands_behind_a_recording_is_told_where_it_may_be_one(behind: bytes, told: list[int]) -> None:
    recording = measure.recorded(of("WAV") + behind)
    assert recording.duration_s == pytest.approx(SECONDS, abs=0.1)
    assert [warning.bytes for warning in recording.warnings if warning.code.value == "trailing_data"] == told
    assert len(recording.warnings) == len(told)


def test_what_is_missing_is_told_with_its_place_and_its_length() -> None:
    whole = of("WAV")
    (cut,) = measure.recorded(whole[: len(whole) * 6 // 10]).warnings
    assert (cut.code.value, cut.start) == ("truncated", pytest.approx(0.6 * SECONDS, abs=0.1))
    assert cut.seconds == pytest.approx(0.4 * SECONDS, abs=0.1)
    (hole,) = measure.recorded(corpus.made("MP3", "hole")).warnings
    assert (hole.code.value, hole.start) == ("damaged", pytest.approx(corpus.HOLE_AT * SECONDS, abs=0.3))
    assert hole.seconds == pytest.approx(corpus.HOLE * SECONDS, abs=0.3)
    # The second file's channels cancel each other, at another rate than ours.
    sound = corpus.speech()[::2]
    inverted = wav_of(np.stack([sound, -sound], axis=1), rate=RATE // 2)
    (cancel,) = measure.recorded(whole + inverted).warnings
    assert (cancel.code.value, cancel.start) == ("channels_cancel", pytest.approx(SECONDS, abs=0.1))
    assert cancel.seconds == pytest.approx(SECONDS, abs=0.1)


def test_an_end_that_can_not_be_decoded_is_a_damage_where_more_follows_and_a_cut_where_nothing_does() -> None:
    cut = of("True Audio")[:-300]
    assert [warning.code.value for warning in measure.recorded(cut).warnings] == ["truncated"]
    assert [warning.code.value for warning in measure.recorded(cut + of("True Audio")).warnings] == [
        "damaged",
        "trailing_data",
    ]


def amr(seconds: int) -> bytes:
    """Frames of noise without the file's mark: fifty a second, of 32 bytes."""
    noise = random.Random(seconds)
    return b"".join(b"\x3c" + noise.randbytes(31) for _ in range(50 * seconds))


def amr_hole(seconds: int) -> bytes:
    return b"\xff" * (50 * 32 * seconds)


@pytest.mark.parametrize(("hole", "told"), [(5, 5), (60, 30)], ids=["short", "longer than all may be"])
def test_bytes_alone_tell_how_much_is_missing_of_a_recording_without_stamps(
    monkeypatch: pytest.MonkeyPatch, hole: int, told: float
) -> None:
    monkeypatch.setattr(measure, "LIMIT_S", 30.0)
    recording = measure.recorded(b"#!AMR\n" + amr(10) + amr_hole(hole) + amr(4))
    assert recording.duration_s == pytest.approx(10 + told + 4, abs=0.1)
    (lost,) = recording.warnings
    assert lost.code.value == "damaged"
    assert (lost.start, lost.seconds) == (pytest.approx(10, abs=0.1), pytest.approx(told, abs=0.1))


def test_a_file_behind_one_that_was_taken_up_again_is_heard_and_nothing_is_told_twice() -> None:
    recording = measure.recorded(b"#!AMR\n" + amr(3) + amr_hole(1) + amr(4) + amr_hole(2) + amr(3) + of("WAV"))
    assert recording.duration_s == pytest.approx(13 + SECONDS, abs=0.1)
    found = [(lost.code.value, round(lost.start or 0), round(lost.seconds or 0)) for lost in recording.warnings]
    assert found == [("damaged", 3, 1), ("damaged", 8, 2)]


def test_what_is_lost_before_a_second_was_heard_has_no_length() -> None:
    whole = of("MP3")
    at = round(len(whole) / SECONDS / 2)
    damage, *others = sorted(measure.recorded(whole[:at] + JUNK * 6 + whole[at:]).warnings, key=lambda one: one.code)
    assert (damage.code.value, damage.seconds) == ("damaged", None)
    assert damage.start == pytest.approx(0.5, abs=0.2)
    assert (others[0].code.value, others[0].start) == ("length_unknown", damage.start)


def test_two_losses_at_nearly_one_place_are_told_as_one_with_the_length_of_both() -> None:
    content, second = bytearray(of("MP3")), round(len(of("MP3")) / SECONDS)
    for at in (4.0, 5.6):
        length = 8 * second // 10
        begin = round(at * second)
        content[begin : begin + length] = JUNK[:length].ljust(length, JUNK[:1])
    (lost,) = measure.recorded(bytes(content)).warnings
    assert (lost.code.value, lost.start) == ("damaged", pytest.approx(4.0, abs=0.3))
    assert lost.seconds == pytest.approx(2.0, abs=0.5)


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"])
def test_a_channel_alone_is_as_loud_in_every_width(codec: str) -> None:
    both = np.stack([corpus.speech(), corpus.speech() // 2])
    found = measure.recorded(corpus.written(corpus.Form("wav", codec), [both], layout="stereo"), channel=2)
    heard, said = found[:], corpus.speech() / 65536
    assert np.abs(heard[: said.size] - said[: heard.size]).max() < 0.02
    assert abs(float(heard.mean())) < 0.005


def test_a_later_file_that_lacks_the_asked_track_is_heard_all_the_same() -> None:
    form = corpus.FORMS["Matroska, AAC"]
    film = corpus.written(form, [0 * corpus.speech(), corpus.speech()], languages=["ger", "eng"])
    recording = measure.recorded(film + of("Matroska, AAC"), track="2")
    assert measure.share(recording, lambda time: time) > measure.MOST
    assert measure.share(recording, lambda time: time + SECONDS) > measure.MOST
    assert [track.number for track in recording.tracks if track.taken] == [2]


def test_all_files_in_one_are_as_long_as_all_of_them(tmp_path: Path) -> None:
    path = tmp_path / "both"
    path.write_bytes(of("WAV") + of("MP3"))
    assert probe(path, max_duration_s=3600).duration_s == pytest.approx(2 * SECONDS, abs=0.2)
    assert probe(path, max_duration_s=15).duration_s == 15


def test_a_sample_of_a_voice_is_heard_to_its_end_and_no_further_than_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "sample"
    path.write_bytes(wav_of(np.full((2 * RATE, 1), 8192, np.int16), rate=RATE))
    with path.open("rb") as file:
        found = listen(file.fileno(), max_duration_s=3)
    assert (found.duration_s, found.loudness) == (pytest.approx(2.0, abs=0.01), pytest.approx(0.25, abs=0.01))
    with path.open("rb") as file, pytest.raises(TooLong):
        listen(file.fileno(), max_duration_s=1)
