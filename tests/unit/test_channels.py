"""Channels: which of them holds what, and their transcripts as one."""

import io
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from demo import SAMPLES
from tests import audio_files, sound
from transcription.channels import Channel, joined
from transcription.media.codecs.decode import decode
from transcription.media.codecs.sameness import Sameness
from transcription.media.recording import Recording
from transcription.result_warning import ResultWarning, WarningCode
from transcription.transcript import Segment, Transcript

RATE = 16_000


def sine(hertz: float, seconds: float = 2.0) -> NDArray[np.int16]:
    return audio_files.tone(seconds, hertz=hertz)[:, 0]


def wav(tmp_path: Path, *channels: NDArray[np.int16]) -> Path:
    path = tmp_path / "call.wav"
    path.write_bytes(audio_files.wav_of(np.stack(channels, axis=1), rate=RATE))
    return path


def held(path: Path, channel: int) -> Recording:
    return sound.decoded(path, limit_s=60, channel=channel)


@pytest.mark.parametrize("count", [2, 3, 6, 8, 9])
def test_each_channel_is_heard_alone(tmp_path: Path, count: int) -> None:
    sounds = [sine(200 + 100 * number, 0.5) for number in range(count)]
    path = wav(tmp_path, *sounds)
    found = [held(path, number) for number in range(1, count + 1)]
    assert [one.same_as for one in found] == [None] * count
    heard = np.stack([one[0 : one.size] for one in found]) * 32768
    assert np.abs(heard - np.stack(sounds)).max() <= 1


def test_a_channel_of_another_rate_is_as_long_and_as_high(tmp_path: Path) -> None:
    path = tmp_path / "call.wav"
    left, right = (audio_files.tone(2.0, rate=48_000, hertz=hertz) for hertz in (300, 500))
    path.write_bytes(audio_files.wav_of(np.concatenate([left, right], axis=1), rate=48_000))
    found = held(path, 2)
    assert found.size == pytest.approx(2 * RATE, abs=2)
    assert np.argmax(np.abs(np.fft.rfft(found[0:RATE]))) == 500


def test_channel_with_the_sound_of_an_earlier_one_is_known(tmp_path: Path) -> None:
    left, right = sine(300), sine(500)
    path = wav(tmp_path, left, right, left, right + np.int16(1))
    assert [held(path, number).same_as for number in (1, 2, 3, 4)] == [None, None, 1, 2]


def test_quiet_channel_is_not_the_same_as_a_loud_one_nor_is_silence(tmp_path: Path) -> None:
    loud = sine(300)
    path = wav(tmp_path, loud, loud // 10, loud * 0)
    assert [held(path, number).same_as for number in (2, 3)] == [None, None]


def test_two_silent_channels_are_the_same(tmp_path: Path) -> None:
    assert held(wav(tmp_path, sine(300), sine(0) * 0, sine(0) * 0), 3).same_as == 2


def test_a_channel_that_a_part_of_the_file_lacks_is_silent_there_and_not_its_neighbour() -> None:
    mono, stereo = np.ones((1, 100), np.float32), np.zeros((2, 100), np.float32)
    second = Sameness(2)
    second.hear(mono)
    second.hear(stereo)
    assert second.same_as is None
    third = Sameness(3)
    third.hear(mono)
    assert third.same_as == 2  # both are silent


def encoded(stereo: NDArray[np.int16], codec: str, container: str, sample_format: str) -> bytes:
    """*stereo*, shape (n, 2), through a lossy codec."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=48_000, layout="stereo")
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(stereo).reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate = RATE
        resampler = av.AudioResampler(format=sample_format, layout="stereo", rate=48_000)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            for packet in stream.encode(part):
                out.mux(packet)
        for packet in stream.encode(None):
            out.mux(packet)
    return file.getvalue()


@pytest.mark.parametrize(
    ("codec", "container", "sample_format"), [("libmp3lame", "mp3", "s16p"), ("aac", "adts", "fltp")]
)
def test_mono_that_a_lossy_codec_wrote_as_stereo_is_one_channel_twice(
    tmp_path: Path, codec: str, container: str, sample_format: str
) -> None:
    speech, other = (
        (decode(SAMPLES[name].path, limit_s=60)[: 3 * RATE] * 32767).astype(np.int16) for name in ("short", "german")
    )
    path = tmp_path / "call"
    path.write_bytes(encoded(np.stack([speech, speech], axis=1), codec, container, sample_format))
    assert held(path, 2).same_as == 1
    path.write_bytes(encoded(np.stack([speech, other], axis=1), codec, container, sample_format))
    assert held(path, 2).same_as is None


def test_part_of_a_file_that_lacks_the_channel_is_silence_there(tmp_path: Path) -> None:
    path = wav(tmp_path, sine(300), sine(500))
    path.write_bytes(path.read_bytes() + audio_files.wav_of(sine(700)[:, None], rate=RATE))
    first, second = held(path, 1), held(path, 2)
    assert first.size == second.size == 4 * RATE
    assert np.abs(first[2 * RATE : 4 * RATE]).max() > 0.2
    assert np.abs(second[2 * RATE : 4 * RATE]).max() == 0


def test_what_is_known_of_a_channel_is_known_when_its_sound_is_opened_again(tmp_path: Path) -> None:
    found = held(wav(tmp_path, sine(300), sine(300)), 2)
    kept = tmp_path / "kept"
    kept.write_bytes(np.rint(found[0 : found.size] * 32768).astype("<i2").tobytes() + found.facts())
    assert Recording.opened(kept).same_as == 1


PLAIN = Transcript(
    segments=(Segment(1.0, 2.0, " Hello."), Segment(5.0, 6.0, " Bye.")),
    language="en", language_probability=0.9, duration=10.0, task="transcribe", model="demo",
)  # fmt: skip
LEFT = Channel(number=1, computation="a", name="agent")
RIGHT = Channel(number=2, computation="b")


def test_transcripts_of_channels_are_one_by_time() -> None:
    right = replace(PLAIN, segments=(Segment(1.5, 3.0, " Hi."),))
    whole = joined([(LEFT, PLAIN), (RIGHT, right)])
    assert [(one.voice, one.text) for one in whole.segments] == [
        ("agent", " Hello."),
        ("Channel 2", " Hi."),
        ("agent", " Bye."),
    ]
    assert whole.text == "Hello. Hi. Bye."
    assert {segment.language for segment in whole.segments} == {None}


def test_language_is_that_of_the_most_and_said_of_segments_where_channels_differ() -> None:
    right = replace(PLAIN, segments=(Segment(0.0, 9.0, " Guten Tag."),), language="de")
    whole = joined([(LEFT, PLAIN), (RIGHT, right)])
    assert whole.language == "de"
    assert [one.language for one in whole.segments] == ["de", "en", "en"]


def test_silent_channel_changes_nothing_and_a_warning_is_said_once() -> None:
    damaged = ResultWarning(code=WarningCode.DAMAGED, message="noise", start=1.0)
    left = replace(PLAIN, warnings=(damaged,))
    right = replace(PLAIN, segments=(), language=None, warnings=(damaged,), complete=False)
    whole = joined([(LEFT, left), (RIGHT, right)])
    assert (whole.language, whole.warnings, whole.complete) == ("en", (damaged,), False)
    assert {one.language for one in whole.segments} == {None}
    assert joined([(RIGHT, right)]).segments == ()


def test_what_only_the_second_channel_has_is_not_lost() -> None:
    cut = ResultWarning(code=WarningCode.TRUNCATED, message="it is cut off", start=1.0)
    hello = Segment(11.0, 12.0, " Hallo.", language="de")
    whole = joined([(LEFT, PLAIN), (RIGHT, replace(PLAIN, segments=(hello,), duration=12.5, warnings=(cut,)))])
    assert (whole.duration, whole.warnings) == (12.5, (cut,))
    assert [one.language for one in whole.segments] == [None, None, "de"]


def test_channel_that_is_the_same_as_another_says_nothing_twice() -> None:
    again = replace(RIGHT, same_as=1)
    whole = joined([(LEFT, PLAIN), (again, replace(PLAIN, segments=()))])
    assert [one.channel for one in whole.segments] == [1, 1]


def test_channel_that_is_the_same_as_another_is_never_written_twice() -> None:
    hello = (Segment(0.0, 1.0, " hello"),)
    once = Transcript(
        segments=hello, language="en", language_probability=None, duration=2.0, task="transcribe", model="demo",
        complete=True,
    )  # fmt: skip
    channels = [Channel(number=1, computation="a"), Channel(number=2, computation="b", same_as=1)]
    found = joined([(channel, once) for channel in channels])
    assert [(one.channel, one.text) for one in found.segments] == [(1, " hello")]
