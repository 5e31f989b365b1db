"""Channels that become one: none of them vanishes, and none is distorted."""

from collections.abc import Callable

import numpy as np
import pytest
from av.audio.frame import AudioFrame

from tests import audio_files, sound
from tests.recordings import corpus, measure
from tests.recordings.measure import codes, same
from transcription.media.audio import BLOCK, RATE
from transcription.media.codecs.channels import Run
from transcription.media.recording import Recording

PLACES = ("FL", "FR", "FC", "LFE", "BL", "BR")


def film(**sounds: corpus.Pcm) -> Recording:
    """A recording of six channels, whose places are known; those that aren't given are silent."""
    channels = np.stack([sounds.get(place, 0 * corpus.speech()) for place in PLACES])
    return measure.recorded(corpus.written(corpus.FORMS["FLAC"], [channels], layout="5.1"))


def loud(recording: Recording) -> float:
    """The loudest sample, in [0, 1]."""
    return float(np.abs(recording[0 : recording.size]).max())


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        (lambda s: [0 * s, 0 * s, s], set()),
        (lambda s: [0 * s] * 8 + [s], set()),
        (lambda s: [0 * s] * 15 + [s], set()),
        (lambda s: [s, -s], {"channels_cancel"}),
        (lambda s: [s, (-0.9 * s).astype(np.int16)], {"channels_cancel"}),
        (lambda s: [s, -s, s, -s], {"channels_cancel"}),
        (lambda s: [s, 0 * s], set()),
    ],
    ids=["third of 3", "ninth of 9", "last of 16", "inverted", "nearly inverted", "two pairs", "left alone"],
)
def test_no_channel_vanishes(channels: Callable[[corpus.Pcm], list[corpus.Pcm]], expected: set[str]) -> None:
    recording = measure.recorded(corpus.wave(channels(corpus.speech())))
    heard = recording[:] / loud(recording) * 0.5
    assert measure.share(sound.recording(heard), same) > measure.MOST
    assert codes(recording) == expected


def test_the_loudest_of_channels_that_cancel_is_taken() -> None:
    speech = corpus.speech()
    quieter = (-0.85 * speech).astype(np.int16)
    whole = np.abs(speech / 32768).max()
    assert [loud(measure.recorded(corpus.wave(pair))) for pair in ([speech, quieter], [quieter, speech])] == (
        pytest.approx([whole, whole], rel=0.01)
    )


def test_channels_that_nobody_has_named_are_not_distorted_by_their_sum() -> None:
    speech = corpus.speech()
    speech = (speech / np.abs(speech).max() * 30_000).astype(np.int16)
    recording = measure.recorded(corpus.wave([speech] * 3))
    assert np.abs(recording[0 : recording.size] * 32768 - speech).max() <= 2


def test_channels_that_cancel_for_a_while_lose_nothing_before_or_after() -> None:
    rate = 3 * RATE
    voice = audio_files.tone(2 * BLOCK / rate + 3, rate=rate)[:, 0]
    other = np.where(np.arange(voice.size) < BLOCK, -voice, voice)
    recording = measure.recorded(audio_files.wav_of(np.stack([voice, other], axis=1), rate=rate))
    assert recording.size == pytest.approx(voice.size / 3, abs=2)
    seconds = recording[0 : recording.size // RATE * RATE].reshape(-1, RATE)
    # In the second in which they begin to agree, less is heard: half of a block cancels.
    assert np.sort(np.abs(seconds).max(axis=1))[1:] == pytest.approx(0.3, abs=0.02)
    assert codes(recording) == {"channels_cancel"}


def test_a_microphone_in_the_subwoofer_s_place_is_heard() -> None:
    recording = film(LFE=corpus.speech())
    assert measure.share(recording, same) > measure.MOST
    assert codes(recording) == {"channels_cancel"}


def test_what_rumbles_in_the_subwoofer_s_place_is_no_film_s_voice() -> None:
    speech = corpus.speech()
    rumble = audio_files.tone(speech.size / RATE, hertz=40)[:, 0] * 3
    recording = film(FC=(0.1 * speech).astype(np.int16), LFE=rumble)
    heard = recording[0 : recording.size] / loud(recording) * 0.5
    assert measure.share(sound.recording(heard), same) > measure.MOST
    assert codes(recording) == set()


@pytest.mark.parametrize("place", ["FL", "BR"])
def test_one_voice_in_a_film_is_mixed_without_a_word(place: str) -> None:
    recording = film(**{place: corpus.speech()})
    assert measure.share(recording, same) > measure.MOST
    assert codes(recording) == set()


def test_of_a_film_s_voices_that_nearly_cancel_one_is_taken() -> None:
    recording = film(FL=corpus.speech(), FR=(-0.98 * corpus.speech()).astype(np.int16))
    assert measure.share(recording, same) > measure.MOST
    assert codes(recording) == {"channels_cancel"}


def test_channels_in_places_that_nothing_leads_from_to_one_are_heard() -> None:
    """Three loudspeakers at the floor: FFmpeg knows no way from them to mono."""
    frame = AudioFrame.from_ndarray(np.full((1, 3 * RATE), 0.3, np.float32), format="flt", layout="BFC+BFL+BFR")
    frame.sample_rate = RATE
    run = Run(frame)
    found = np.concatenate([*run.feed(frame), *run.end()])
    assert found.size == RATE
    assert found == pytest.approx(0.3 * 32768, abs=1)
