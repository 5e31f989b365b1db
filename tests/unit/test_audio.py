import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from faster_whisper.audio import decode_audio
from hypothesis import given, settings
from hypothesis import strategies as st

from demo import SAMPLES
from tests import audio_files, sound
from transcription.errors import (
    BlobMissing,
    CorruptAudio,
    IndexMissing,
    MurmurationError,
    NoAudioStream,
    NoSamples,
    TooLong,
    UnsupportedMedia,
)
from transcription.media.audio import RATE, sample_at
from transcription.media.codecs.decode import decode
from transcription.spans import Span

HOUR = 3600.0


def stored(folder: Path, content: bytes, name: str = "blob") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_samples_are_those_that_faster_whisper_decodes(name: str) -> None:
    path = SAMPLES[name].path
    assert np.array_equal(decode(path, limit_s=HOUR), decode_audio(str(path)))


@pytest.mark.parametrize(
    "content",
    [
        lambda: audio_files.wav(2.0, rate=8_000),
        lambda: audio_files.wav(2.0, rate=96_000, channels=2),
        lambda: audio_files.wav(2.0, rate=44_100, channels=2),
        lambda: audio_files.mp3(2.0, rate=44_100),
        lambda: audio_files.encoded("ogg", "libopus", seconds=2.0, rate=48_000),
        lambda: audio_files.encoded("flac", "flac", seconds=2.0),
        lambda: audio_files.encoded("adts", "aac", seconds=2.0),
        lambda: audio_files.video(seconds=2.0),
        lambda: audio_files.video(seconds=2.0, container="matroska"),
    ],
    ids=["wav-8k", "wav-96k-stereo", "wav-44k-stereo", "mp3", "opus", "flac", "aac", "mp4", "matroska"],
)
def test_every_common_format_becomes_16_khz_mono_like_faster_whispers(
    tmp_path: Path, content: Callable[[], bytes]
) -> None:
    path = stored(tmp_path, content())
    samples = decode(path, limit_s=HOUR)
    assert samples.dtype == np.float32
    assert samples.size == pytest.approx(2 * RATE, abs=0.15 * RATE)  # AAC and MP3 pad
    assert 0.1 < np.abs(samples).max() <= 1
    assert np.array_equal(samples, decode_audio(str(path)))


def test_a_tenth_of_a_second_is_decoded(tmp_path: Path) -> None:
    assert decode(stored(tmp_path, audio_files.wav(0.1)), limit_s=HOUR).size == pytest.approx(RATE / 10, abs=64)


def test_a_truncated_mp3_gives_what_is_left_of_it(tmp_path: Path) -> None:
    whole = SAMPLES["mp3"].path.read_bytes()
    samples = decode(stored(tmp_path, whole[: len(whole) // 2]), limit_s=HOUR)
    full = decode(SAMPLES["mp3"].path, limit_s=HOUR)
    assert samples.size == pytest.approx(full.size / 2, rel=0.05)
    assert np.array_equal(samples[: RATE * 5], full[: RATE * 5])


def test_a_hole_in_an_mp3_costs_only_itself(tmp_path: Path) -> None:
    whole = bytearray(SAMPLES["mp3"].path.read_bytes())
    middle = len(whole) // 2
    whole[middle : middle + 4000] = b"\x55" * 4000
    samples = decode(stored(tmp_path, bytes(whole)), limit_s=HOUR)
    assert samples.size / RATE > 12


def test_sound_whose_rate_changes_on_the_way_is_decoded_to_its_end(tmp_path: Path) -> None:
    both = audio_files.encoded("adts", "aac", seconds=2.0, rate=16_000) + audio_files.encoded(
        "adts", "aac", seconds=2.0, rate=44_100
    )
    samples = decode(stored(tmp_path, both), limit_s=HOUR)
    assert samples.size == pytest.approx(4 * RATE, rel=0.1)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", UnsupportedMedia),
        (audio_files.text(), UnsupportedMedia),
        (bytes(range(256)) * 64, UnsupportedMedia),
        (audio_files.video(sound=False), NoAudioStream),
        (audio_files.wav(0.0), NoSamples),
        (audio_files.video()[:2000], IndexMissing),
    ],
    ids=["empty", "text", "noise", "silent-video", "no-samples", "headless-mp4"],
)
def test_what_is_no_sound_is_refused_by_its_own_error(
    tmp_path: Path, content: bytes, error: type[MurmurationError]
) -> None:
    with pytest.raises(error):
        decode(stored(tmp_path, content, "speech.mp3"), limit_s=HOUR)


def test_a_stream_of_which_nothing_decodes_is_corrupt(tmp_path: Path) -> None:
    flac = bytearray(audio_files.encoded("flac", "flac", seconds=2.0))
    start = flac.index(b"\xff\xf8", 42)
    for at in range(start + 2, len(flac)):
        flac[at] = 0x55 if flac[at] != 0x55 else 0xAA
    with pytest.raises(CorruptAudio, match="no sound could be decoded"):
        decode(stored(tmp_path, bytes(flac)), limit_s=HOUR)


def test_a_missing_file_is_a_missing_blob(tmp_path: Path) -> None:
    with pytest.raises(BlobMissing):
        decode(tmp_path / "nothing", limit_s=HOUR)


def test_decoding_stops_at_the_limit_and_names_it(tmp_path: Path) -> None:
    with pytest.raises(TooLong, match=r"1\.5 s.*MURMUR_LIMITS__MAX_DURATION_S"):
        decode(stored(tmp_path, audio_files.wav(2.0)), limit_s=1.5)
    assert decode(stored(tmp_path, audio_files.wav(2.0)), limit_s=2.0).size == 2 * RATE


def test_a_few_bytes_that_claim_days_of_sound_take_no_memory(tmp_path: Path) -> None:
    content = bytearray(audio_files.wav(2.0))
    content[24:28] = struct.pack("<I", 2)
    tracemalloc.start()
    try:
        with pytest.raises(TooLong):
            decode(stored(tmp_path, bytes(content)), limit_s=600)
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["hls", "concat"])
def test_a_playlist_can_not_pull_in_another_file(tmp_path: Path, kind: str) -> None:
    secret = stored(tmp_path, audio_files.encoded("mpegts", "aac", seconds=2.0), "secret.ts")
    lists = {"hls": audio_files.playlist(secret), "concat": f"ffconcat version 1.0\nfile '{secret}'\n".encode()}
    path = stored(tmp_path, lists[kind], "list.m3u8")
    # It would work, were it not for the lists of demuxers and protocols.
    with av.open(str(path), format=kind, container_options={"safe": "0"} if kind == "concat" else {}) as open_door:
        assert next(open_door.decode(audio=0)).samples
    with pytest.raises(UnsupportedMedia):
        decode(path, limit_s=HOUR)


def test_a_recording_in_a_file_gives_back_the_decoder_s_samples() -> None:
    samples = decode(SAMPLES["short"].path, limit_s=HOUR)
    kept = sound.decoded(SAMPLES["short"].path, limit_s=HOUR)
    for span in (Span(0, samples.size / RATE), Span(1.25, 3.700123), Span(5, 1e4), Span(2, 2), Span(1e4, 2e4)):
        assert np.array_equal(kept.cut(span), samples[sample_at(span.start) : sample_at(span.end)])


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=200))
def test_no_sample_is_lost_on_the_way_to_the_disk_and_back(pcm: list[int]) -> None:
    samples = np.array(pcm, np.int16).astype(np.float32) / 32768.0
    assert np.array_equal(sound.recording(samples)[:], samples)
