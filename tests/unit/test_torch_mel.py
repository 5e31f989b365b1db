"""Log-mel in torch, of sounds that the engines' contract has none of."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch isn't installed: pip install 'murmuration[torch]'")

import torch
from faster_whisper.feature_extractor import FeatureExtractor

from transcription.media.audio import Samples
from worker.engines.torch.device.mel import LogMel, Sound

SECOND = 16_000
CPU = torch.device("cpu")


def noise(seconds: int, seed: int = 0) -> Samples:
    return np.random.default_rng(seed).standard_normal(seconds * SECOND).astype(np.float32)


def mel(sound: Sound) -> np.ndarray:
    return sound.mel_from(0).numpy()


def test_model_of_128_mels_has_its_own_filters() -> None:
    sound = Sound(noise(2), 128)
    LogMel(128, CPU)([sound])
    expected = FeatureExtractor(feature_size=128)(noise(2))
    heard = expected.shape[1] - 1
    assert sound.shape == expected.shape
    assert mel(sound)[:, :heard] == pytest.approx(expected[:, :heard], abs=2e-4)


def test_digital_silence_is_a_number() -> None:
    sound = Sound(np.zeros(SECOND, np.float32), 80)
    LogMel(80, CPU)([sound])
    assert mel(sound)[:, :99] == pytest.approx(FeatureExtractor()(np.zeros(SECOND, np.float32))[:, :99])


def test_what_is_beyond_half_a_minute_is_not_heard() -> None:
    sounds = [Sound(noise(31), 80), Sound(noise(31)[: 30 * SECOND], 80)]
    LogMel(80, CPU)(sounds)
    assert [sound.shape for sound in sounds] == [(80, 3001)] * 2
    assert np.array_equal(mel(sounds[0]), mel(sounds[1]))


def test_sound_keeps_its_own_log_mel_and_nothing_else() -> None:
    log_mel, first = LogMel(80, CPU), Sound(noise(1), 80)
    log_mel([first])
    kept = mel(first).copy()
    log_mel([Sound(noise(1, seed=1), 80)])
    assert np.array_equal(mel(first), kept)
    assert first.padded is None, "half a minute of samples for every window that waits for its turn"
