"""A look at plain WAV files says what the codecs say, or that it can't tell."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests import audio_files, sound
from tests.unit.test_encryption import key_file
from transcription.encryption.files import file_encryption
from transcription.errors import InvalidAudio, Stopped, TooLong
from transcription.media import plain
from transcription.media.codecs import probe as codecs
from transcription.media.codecs.decode import decode_into
from transcription.media.decoder import Decoder
from transcription.media.plain import wave
from transcription.media.prober import Prober
from transcription.settings import Encryption, Limits, Settings

LIMIT_S = 7200.0
SOUND = b"".join(struct.pack("<h", value) for value in Random(1).choices(range(-9000, 9000), k=24_000))


def wav(
    sound: bytes = SOUND, *, channels: int = 1, rate: int = 16_000, bits: int = 16, kind: int = 1, between: bytes = b""
) -> bytes:
    align, size = channels * bits // 8, 36 + len(between) + len(sound)
    head = wave.HEAD.pack(b"RIFF", size, b"WAVE", b"fmt ", 16, kind, channels, rate, rate * align, align, bits)
    return head + between + wave.CHUNK.pack(b"data", len(sound)) + sound


def chunk(name: bytes, content: bytes) -> bytes:
    return wave.CHUNK.pack(name, len(content)) + content + bytes(len(content) % 2)


WRITER = chunk(b"LIST", b"INFO" + chunk(b"ISFT", b"Lavf62.3.100\0"))
"""Which program wrote it, as FFmpeg says it."""


def looked_at(tmp_path: Path, content: bytes, *, limit_s: float = LIMIT_S) -> tuple[dict[str, Any] | None, Any]:
    """What the plain look says, and what the codecs say, or which error they raise."""
    path = tmp_path / "a"
    path.write_bytes(content)
    with path.open("rb") as file:
        plain = wave.look(file.fileno(), max_duration_s=limit_s)
        try:
            full: Any = codecs.probe_descriptor(os.dup(file.fileno()), max_duration_s=limit_s)
        except InvalidAudio as error:
            full = type(error)
    return plain, full


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 44_100, 48_000, 192_000])
@pytest.mark.parametrize("samples", [100, 20_001])
@pytest.mark.parametrize("between", [b"", WRITER])
def test_a_plain_recording_is_judged_as_the_codecs_judge_it(
    tmp_path: Path, channels: int, rate: int, samples: int, between: bytes
) -> None:
    content = wav((SOUND * 4)[: 2 * channels * samples], channels=channels, rate=rate, between=between)
    plain, full = looked_at(tmp_path, content)
    assert plain == full
    assert plain is not None


def test_silence_is_judged_as_the_codecs_judge_it(tmp_path: Path) -> None:
    plain, full = looked_at(tmp_path, wav(bytes(300_000)))
    assert plain == full
    assert plain is not None


QUESTIONABLE = {
    "no bytes": b"",
    "a header alone": wav(b""),
    "seven samples": wav(SOUND[:14]),
    "half a header": wav()[:30],
    "cut off": wav()[:-1000],
    "bytes behind it": wav() + bytes(64),
    "another file behind it": wav() + wav(),
    "half a sample": wav(SOUND + b"x"),
    "three channels": wav(channels=3),
    "24 bits": wav(bits=24),
    "floats": wav(kind=3, bits=32),
    "another codec's sound in samples": wav(SOUND[:5000] + b"\x72\xf8\x1f\x4e" + SOUND[5000:]),
    "DTS": wav(b"\xff\x1f\x00\xe8" + SOUND),
    "a list of nothing": wav(between=chunk(b"LIST", b"INFO")),
    "a title": wav(between=chunk(b"LIST", b"INFO" + chunk(b"INAM", b"title\0"))),
    "a writer and a title": wav(
        between=chunk(b"LIST", b"INFO" + chunk(b"ISFT", b"Lavf\0") + chunk(b"INAM", b"title\0"))
    ),
    "a list of other things": wav(between=chunk(b"LIST", b"adtl" + chunk(b"ISFT", b"Lavf\0"))),
    "two lists": wav(between=WRITER + WRITER),
    "another chunk between": wav(between=chunk(b"bext", b"INFO" + chunk(b"ISFT", b"Lavf\0"))),
    "a list that ends nowhere": wav(between=WRITER[:20]),
    "a writer with a long name": wav(between=chunk(b"LIST", b"INFO" + chunk(b"ISFT", b"x" * 2000))),
    "a rate of nothing": wav(rate=0),
    "big end first": b"RIFX" + wav()[4:],
}


@pytest.mark.parametrize("name", QUESTIONABLE)
def test_of_what_leaves_a_question_it_cannot_tell(tmp_path: Path, name: str) -> None:
    assert looked_at(tmp_path, QUESTIONABLE[name])[0] is None


def changed(content: bytes, position: int, byte: int) -> bytes:
    return content[:position] + bytes([byte]) + content[position + 1 :]


@pytest.mark.parametrize("content", [wav(), wav(between=WRITER)], ids=["plain", "with a writer"])
def test_whatever_is_changed_in_a_header_it_says_what_the_codecs_say_or_cannot_tell(
    tmp_path: Path, content: bytes
) -> None:
    random = Random(7)
    changes = [(position, random.randrange(256)) for position in range(len(content) - len(SOUND)) for _ in range(4)]
    found = [looked_at(tmp_path, changed(content, *change)) for change in changes]
    assert [plain for plain, full in found if plain not in (None, full)] == []
    assert sum(plain is None for plain, _ in found) > 150  # nearly every byte counts


@pytest.fixture
def prober(tmp_path: Path) -> Iterator[Prober]:
    running = Prober(Settings(data_dir=tmp_path, limits=Limits(max_duration_s=60)))
    yield running
    running.close()


def test_a_plain_recording_needs_no_codecs_and_any_other_one_gets_them(prober: Prober, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(wav())
    found = prober(path)
    assert (found.container, found.duration_s, found.streams[0].codec) == ("wav", 1.5, "pcm_s16le")
    assert prober._sandbox._zygote is None
    path.write_bytes(wav(bits=24, sound=SOUND[:30_000]))
    assert prober(path).streams[0].codec == "pcm_s24le"
    assert prober._sandbox._zygote is not None


def test_a_plain_recording_that_is_too_long_is_refused_as_any_other_one(prober: Prober, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(wav(bytes(2 * 4000 * 90), rate=4000))
    with pytest.raises(TooLong):
        prober(path)


def copied(tmp_path: Path, content: bytes, *, limit_s: float = LIMIT_S) -> tuple[dict[str, Any] | None, bytes]:
    """What is told of a file whose samples are copied, and what was copied."""
    (tmp_path / "a").write_bytes(content)
    with (tmp_path / "a").open("rb") as source, (tmp_path / "b").open("w+b") as target:
        report = plain.copy(source.fileno(), target.fileno(), max_duration_s=limit_s, moved=lambda: None)
        target.seek(0)
        return report, target.read()


@pytest.mark.parametrize("between", [b"", WRITER])
@pytest.mark.parametrize("samples", [100, 1023, 1024, 24_000, 1_600_001])
def test_samples_as_they_are_heard_are_copied_as_the_codecs_decode_them(
    tmp_path: Path, samples: int, between: bytes
) -> None:
    report, written = copied(tmp_path, wav((SOUND * 67)[: 2 * samples], between=between))
    with (tmp_path / "a").open("rb") as source, (tmp_path / "c").open("w+b") as target:
        decoded = decode_into(os.dup(source.fileno()), target.fileno(), limit_s=LIMIT_S)
        assert report == decoded
        target.seek(0)
        assert written == target.read()


NOT_COPIED = {"8 kHz": wav(rate=8000), "two channels": wav(channels=2), **QUESTIONABLE}


@pytest.mark.parametrize("name", NOT_COPIED)
def test_what_takes_a_codec_or_a_resampler_isnt_copied(tmp_path: Path, name: str) -> None:
    assert copied(tmp_path, NOT_COPIED[name]) == (None, b"")


def test_samples_that_are_too_long_arent_copied(tmp_path: Path) -> None:
    assert copied(tmp_path, wav(), limit_s=1.4) == (None, b"")
    assert copied(tmp_path, wav(), limit_s=1.5)[0]


@pytest.fixture
def decoder(tmp_path: Path) -> Iterator[Decoder]:
    running = Decoder(Settings(data_dir=tmp_path, limits=Limits(max_duration_s=60)))
    yield running
    running.close()


def test_a_plain_recording_is_decoded_without_a_process(decoder: Decoder, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(wav())
    recording = decoder.decode(tmp_path / "a", sound.empty(), language="de")
    assert decoder._sandbox._zygote is None
    assert (recording.size, recording.duration_s, recording.warnings) == (24_000, 1.5, ())
    assert [(track.number, track.taken) for track in recording.tracks] == [(1, True)]
    assert (recording[:24_000] * 32_768).astype("<i2").tobytes() == SOUND


@pytest.mark.parametrize("asked", [{"track": "1"}, {"channel": 1}])
def test_of_a_plain_recording_a_track_or_channel_that_is_asked_for_is_found_by_the_codecs(
    decoder: Decoder, tmp_path: Path, asked: dict[str, Any]
) -> None:
    (tmp_path / "a").write_bytes(wav())
    assert decoder.decode(tmp_path / "a", sound.empty(), **asked).size == 24_000
    assert decoder._sandbox._zygote is not None


def test_copying_ends_when_nobody_wants_it_and_says_how_far_it_is(decoder: Decoder, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(wav())
    told: list[str] = []
    decoder.decode(tmp_path / "a", sound.empty(), progressed=lambda: told.append("moved"))
    assert told == ["moved"]

    def unwanted() -> None:
        raise Stopped("nobody wants it")

    with pytest.raises(Stopped):
        decoder.decode(tmp_path / "a", sound.empty(), check=unwanted)


def test_a_plain_recording_doesnt_lie_plain_on_an_encrypted_disk(tmp_path: Path) -> None:
    keys = Encryption(key_file=str(key_file(tmp_path / "keys", "k1")), accept_plain=True)
    settings = Settings(data_dir=tmp_path, encryption=keys)
    (tmp_path / "a").write_bytes(wav())
    decoder, target = Decoder(settings), sound.empty()
    file_encryption(settings).begin(target)
    try:
        recording = decoder.decode(tmp_path / "a", target)
    finally:
        decoder.close()
    assert (recording[:] * 32_768).astype("<i2").tobytes() == SOUND
    target.seek(0)
    assert SOUND[:64] not in target.read()


def test_what_ffmpeg_itself_writes_is_plain(tmp_path: Path) -> None:
    content = audio_files.encoded("wav", "pcm_s16le", seconds=2.0, rate=16_000)
    plain, full = looked_at(tmp_path, content)
    assert plain == full
    assert b"ISFT" in content[:100]
    assert plain is not None
    assert copied(tmp_path, content)[0]
