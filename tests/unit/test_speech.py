import random
from dataclasses import replace
from itertools import pairwise
from unittest import mock

import faster_whisper.vad
import numpy as np
import pytest
from faster_whisper.vad import VadOptions, get_speech_timestamps

from demo import SAMPLES
from tests import sound
from transcription.errors import Stopped
from transcription.media.audio import RATE, Samples
from transcription.media.codecs.decode import decode
from transcription.media.recording import Recording
from transcription.spans import Span
from worker.audio import speech
from worker.audio.speech import FRAME, OPTIONS, detect_speech, everything
from worker.diarizers.embedding import SPEECH


def found_by_faster_whisper(samples: Samples, options: VadOptions = OPTIONS) -> list[Span]:
    # Its own name for what detect_speech always does.
    reference = replace(options, max_speech_duration_s=30)
    return [Span(part["start"] / RATE, part["end"] / RATE) for part in get_speech_timestamps(samples, reference)]


@pytest.fixture(scope="module")
def long() -> Samples:
    return decode(SAMPLES["long"].path, limit_s=100)


def test_speech_is_found_where_it_is(long: Samples) -> None:
    stretches = detect_speech(long)
    for sentence in SAMPLES["long"].segments:
        middle = (sentence.start + sentence.end) / 2
        assert any(stretch.start <= middle <= stretch.end for stretch in stretches), sentence
    pauses = [b.start - a.end for a, b in pairwise(stretches)]
    assert sum(pause > 2 for pause in pauses) == 4


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 512 * 400, 512 * 400 + 500, 16_000 * 60 + 7])
def test_the_spans_are_those_of_faster_whisper(long: Samples, size: int) -> None:
    assert detect_speech(long[:size]) == found_by_faster_whisper(long[:size])


def test_blocks_leave_no_trace(long: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = detect_speech(long)
    monkeypatch.setattr(speech, "BLOCK_FRAMES", 100)
    assert detect_speech(long) == whole


def test_probabilities_are_those_of_faster_whisper_however_many_blocks_they_come_in(
    long: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speech, "BLOCK_FRAMES", 30)
    for size in (FRAME * 100, FRAME * 100 + 500):
        samples = long[RATE : RATE + size]
        expected = faster_whisper.vad.get_vad_model()(np.pad(samples, (0, FRAME - size % FRAME)))
        assert list(speech._probabilities(samples)) == pytest.approx(np.asarray(expected).reshape(-1), abs=1e-5)


@pytest.mark.parametrize("options", [OPTIONS, SPEECH], ids=["transcribing", "diarizing"])
def test_hysteresis_and_splitting_are_those_of_faster_whisper(
    monkeypatch: pytest.MonkeyPatch, options: VadOptions
) -> None:
    chance = random.Random(5)
    for _ in range(40):
        curve: list[float] = []
        while len(curve) < 3000:
            level = chance.choice([0.1, 0.4, 0.45, 0.9, 0.95])
            curve += [level + chance.uniform(-0.1, 0.1) for _ in range(chance.choice([1, 3, 5, 20, 400, 1200]))]
        curve += [0.05] * 20 + [0.95] * chance.choice([0, 2, 5])
        samples = np.zeros(len(curve) * 512 - chance.randint(1, 512), np.float32)
        monkeypatch.setattr(speech, "_probabilities", lambda _, curve=curve: curve)
        with mock.patch.object(faster_whisper.vad, "get_vad_model", lambda curve=curve: lambda _: curve):
            expected = found_by_faster_whisper(samples, options)
        assert detect_speech(samples, options=options) == expected


def test_silence_and_a_tone_hold_no_speech() -> None:
    assert detect_speech(decode(SAMPLES["silence"].path, limit_s=100)) == []
    tone = 0.3 * np.sin(np.arange(5 * RATE) * 440 * 2 * np.pi / RATE)
    assert detect_speech(tone.astype(np.float32)) == []


def test_everything_covers_the_recording_and_is_cut_in_its_pauses(long: Samples) -> None:
    stretches = detect_speech(long)
    duration = long.size / RATE
    parts = everything(stretches, duration)
    assert parts[0].start == 0
    assert parts[-1].end == duration
    assert all(a.end == b.start for a, b in pairwise(parts))
    assert max(part.seconds for part in parts) <= 30
    for part in parts[1:]:
        assert not any(s.start + 0.05 < part.start < s.end - 0.05 for s in stretches)


def test_everything_of_a_recording_without_speech_is_cut_at_30_s() -> None:
    assert everything([], 70.0) == [Span(0, 30), Span(30, 60), Span(60, 70)]
    assert everything([], 0.0) == []


def test_everything_is_cut_in_the_last_pause_before_30_s_and_on_whole_samples() -> None:
    speech = [Span(0, 10), Span(11, 20), Span(21, 40)]
    assert everything(speech, 45.0) == [Span(0, 20.5), Span(20.5, 45)]
    (_, second) = everything([Span(0, 20.00001), Span(21.00002, 40)], 45.0)
    assert second.start * RATE == round(second.start * RATE)


def test_a_long_search_for_speech_shows_progress_and_can_be_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "BLOCK_FRAMES", 100)
    seen: list[int] = []

    def progressed() -> None:
        seen.append(1)
        if len(seen) == 2:
            raise Stopped("nobody wants it any more")

    with pytest.raises(Stopped):
        detect_speech(np.zeros(300 * FRAME, np.float32), progressed=progressed)
    assert len(seen) == 2


def quiet(by: float) -> Recording:
    """A recording, 20 log10(*by*) dB below its own level, as 16 bits hold it."""
    return sound.recording(decode(SAMPLES["short"].path, limit_s=100) / by)


def test_speech_too_quiet_to_be_found_is_found_after_normalizing() -> None:
    recording = quiet(1000)
    assert detect_speech(recording) == []
    recording.normalize()
    assert sum(stretch.seconds for stretch in detect_speech(recording)) > 10


@pytest.mark.parametrize(
    ("by", "peak"), [(0.5, 1.0), (1, 1.0), (40, 1.0), (10_000, 0.006)], ids=["louder", "as it is", "32 dB", "80 dB"]
)
def test_normalizing_reaches_full_scale_or_forty_db(by: float, peak: float) -> None:
    recording = quiet(by)
    recording.normalize()
    assert np.abs(recording[:]).max() == pytest.approx(peak, abs=0.001)


def test_silence_stays_silent_when_it_is_normalized() -> None:
    recording = sound.recording(np.zeros(RATE, np.float32))
    recording.normalize()
    assert not recording[:].any()


def test_speech_in_a_file_is_searched_a_block_at_a_time(long: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech, "BLOCK_FRAMES", 1000)

    class Watched:
        """Says how much was asked for at once."""

        size, most = long.size, 0

        def __getitem__(self, part: slice) -> Samples:
            first, last, _ = part.indices(self.size)
            self.most = max(self.most, last - first)
            return long[first:last]

    watched = Watched()
    assert detect_speech(watched)
    assert watched.most == 1000 * FRAME < watched.size
