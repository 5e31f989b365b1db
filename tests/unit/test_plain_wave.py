"""A look at plain WAV files says what the codecs say, or that it can't tell."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from transcription.errors import InvalidAudio, TooLong
from transcription.media.codecs import probe as codecs
from transcription.media.plain import wave
from transcription.media.prober import Prober
from transcription.settings import Limits, Settings

LIMIT_S = 7200.0
SOUND = b"".join(struct.pack("<h", value) for value in Random(1).choices(range(-9000, 9000), k=24_000))


def wav(sound: bytes = SOUND, *, channels: int = 1, rate: int = 16_000, bits: int = 16, kind: int = 1) -> bytes:
    align = channels * bits // 8
    head = wave.HEAD.pack(
        b"RIFF", 36 + len(sound), b"WAVE", b"fmt ", 16, kind, channels, rate, rate * align, align, bits, b"data",
        len(sound),
    )  # fmt: skip
    return head + sound


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
def test_a_plain_recording_is_judged_as_the_codecs_judge_it(
    tmp_path: Path, channels: int, rate: int, samples: int
) -> None:
    plain, full = looked_at(tmp_path, wav((SOUND * 4)[: 2 * channels * samples], channels=channels, rate=rate))
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
    "a chunk between": wav()[:36] + b"LIST" + struct.pack("<I", 4) + b"INFO" + wav()[36:],
    "a rate of nothing": wav(rate=0),
    "big end first": b"RIFX" + wav()[4:],
}


@pytest.mark.parametrize("name", QUESTIONABLE)
def test_of_what_leaves_a_question_it_cannot_tell(tmp_path: Path, name: str) -> None:
    assert looked_at(tmp_path, QUESTIONABLE[name])[0] is None


def changed(position: int, byte: int) -> bytes:
    return wav()[:position] + bytes([byte]) + wav()[position + 1 :]


def test_whatever_is_changed_in_a_header_it_says_what_the_codecs_say_or_cannot_tell(tmp_path: Path) -> None:
    random = Random(7)
    changes = [(position, random.randrange(256)) for position in range(wave.HEAD.size) for _ in range(4)]
    found = [looked_at(tmp_path, changed(*change)) for change in changes]
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
