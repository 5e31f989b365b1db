"""A look at plain FLAC files says what the codecs say, or that it can't tell."""

import io
import os
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import av
import numpy as np
import pytest

from demo import SAMPLES
from transcription.errors import InvalidAudio
from transcription.media.codecs import probe as codecs
from transcription.media.plain import flac, look
from transcription.media.prober import Prober
from transcription.settings import Settings

LIMIT_S = 7200.0
HEADER_BYTES = 42
"""The mark and the one block that every FLAC file has."""


@cache
def encoded(*, rate: int = 16_000, channels: int = 1, deep: bool = False, samples: int = 30_000, **tags: str) -> bytes:
    """Noise as FFmpeg writes it, with 24 bits where it is *deep*."""
    written = io.BytesIO()
    kind, peak, bits = ("s32", 1 << 30, np.int32) if deep else ("s16", 9000, np.int16)
    noise = np.random.default_rng(1).integers(-peak, peak, (1, samples * channels)).astype(bits)
    with av.open(written, "w", format="flac") as container:
        container.metadata.update(tags)
        stream = container.add_stream("flac", rate=rate, layout="mono" if channels == 1 else "stereo", format=kind)
        frame = av.AudioFrame.from_ndarray(noise, format=kind, layout=stream.layout)
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return written.getvalue()


def speech() -> bytes:
    return SAMPLES["short"].path.read_bytes()


def block(kind: int, content: bytes) -> bytes:
    """A file with one more block of metadata behind the first."""
    whole = encoded()
    return whole[:HEADER_BYTES] + bytes([kind]) + len(content).to_bytes(3, "big") + content + whole[HEADER_BYTES:]


def looked_at(tmp_path: Path, content: bytes, *, limit_s: float = LIMIT_S) -> tuple[dict[str, Any] | None, Any]:
    """What the plain look says, and what the codecs say, or which error they raise."""
    path = tmp_path / "a"
    path.write_bytes(content)
    with path.open("rb") as file:
        plain = look(file.fileno(), max_duration_s=limit_s)
        try:
            full: Any = codecs.probe_descriptor(os.dup(file.fileno()), max_duration_s=limit_s)
        except InvalidAudio as error:
            full = type(error)
    return plain, full


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8000, 16_000, 44_100, 48_000])
def test_a_plain_recording_is_judged_as_the_codecs_judge_it(
    tmp_path: Path, rate: int, channels: int, deep: bool
) -> None:
    plain, full = looked_at(tmp_path, encoded(rate=rate, channels=channels, deep=deep))
    assert plain == full
    assert plain is not None


PLAIN = {
    "speech": speech,
    "one frame": lambda: encoded(samples=4000, rate=44_100),
    "bytes behind it": lambda: speech() + bytes(range(8)),
    "cut off": lambda: speech()[:90_000],
    "an encoder's name": lambda: encoded(encoder="somebody's"),
    "a table of places": lambda: block(3, bytes(36)),
}


@pytest.mark.parametrize("name", PLAIN)
def test_what_leaves_no_question_is_judged_as_the_codecs_judge_it(tmp_path: Path, name: str) -> None:
    plain, full = looked_at(tmp_path, PLAIN[name]())
    assert plain == full
    assert plain is not None


def without_length() -> bytes:
    changed = bytearray(encoded())
    changed[21] &= 0xF0
    changed[22:26] = bytes(4)
    return bytes(changed)


QUESTIONABLE = {
    "no bytes": lambda: b"",
    "a mark alone": lambda: b"fLaC",
    "no frame": lambda: encoded()[:HEADER_BYTES],
    "a frame's half": lambda: speech()[:8400],
    "another file behind it": lambda: encoded() + encoded(),
    "a file with a tag behind it": lambda: encoded() + b"ID3\x04\0\0\0\0\0\0" + encoded(),
    "a title": lambda: encoded(title="Minutes"),
    "a language": lambda: encoded(LANGUAGE="deu"),
    "a picture": lambda: block(6, bytes(64)),
    "a sheet of cues": lambda: block(5, bytes(64)),
    "an unknown block": lambda: block(77, bytes(8)),
    "a second header": lambda: block(0, encoded()[8:HEADER_BYTES]),
    "a block that never ends": lambda: block(1, bytes(8)).replace(b"\x01\0\0\x08", b"\x01\xff\xff\xff", 1),
    "no length": without_length,
    "a length that cannot be": lambda: encoded()[:22] + b"\0\0\0\x63" + encoded()[26:],
    "more than is allowed": lambda: encoded(samples=70_000, rate=8000),
    "a rate that is rare": lambda: encoded(rate=12_000),
    "a long one": lambda: encoded() + bytes(1 << 22),
}


@pytest.mark.parametrize("name", QUESTIONABLE)
def test_of_what_leaves_a_question_it_cannot_tell(tmp_path: Path, name: str) -> None:
    assert looked_at(tmp_path, QUESTIONABLE[name](), limit_s=8.0)[0] is None


def test_whatever_is_changed_it_says_what_the_codecs_say_or_cannot_tell(tmp_path: Path) -> None:
    whole, random = encoded(samples=3000), Random(7)
    at = whole.index(b"\xff\xf8")
    places = [*range(HEADER_BYTES), *range(at, at + 16), *random.sample(range(at + 16, len(whole)), 60)]
    found = []
    for place in places:
        for _ in range(2):
            changed = bytearray(whole)
            changed[place] ^= random.randrange(1, 256)
            found.append(looked_at(tmp_path, bytes(changed)))
    assert [(plain, full) for plain, full in found if plain not in (None, full)] == []
    assert sum(plain is None for plain, _ in found) > 100


def test_a_damaged_first_frame_is_left_to_the_codecs(tmp_path: Path) -> None:
    whole = encoded()
    at = whole.index(b"\xff\xf8")
    refused = 0
    for place in range(at, at + 2000, 47):
        changed = bytearray(whole)
        changed[place] ^= 4
        refused += looked_at(tmp_path, bytes(changed))[0] is None
    assert refused == len(range(at, at + 2000, 47))


def test_it_needs_no_process_of_its_own(tmp_path: Path) -> None:
    prober = Prober(Settings(data_dir=tmp_path))
    try:
        found = prober(SAMPLES["short"].path)
        assert (found.container, found.streams[0].codec) == ("flac", "flac")
        assert prober._sandbox._zygote is None
    finally:
        prober.close()


def test_it_reads_a_bounded_part_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def pread(descriptor: int, count: int, position: int) -> bytes:
        read.append(count)
        return real(descriptor, count, position)

    real = os.pread
    monkeypatch.setattr(os, "pread", pread)
    path = tmp_path / "a"
    with path.open("wb") as file:
        file.write(encoded())
        file.truncate(1 << 32)
    with path.open("rb") as file:
        assert flac.look(file.fileno(), max_duration_s=LIMIT_S) is None
    assert 0 < sum(read) < 1 << 20
