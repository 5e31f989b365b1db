"""The demo model hears its own samples right, through the real faster-whisper."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import pytest
from faster_whisper import WhisperModel
from faster_whisper.transcribe import Segment, TranscriptionInfo

from demo import SAMPLES, Sample, export_ct2
from tests.encoded_once import EncodedOnce

BOUNDARY_TOLERANCE_S = 0.15


@pytest.fixture(scope="session")
def demo_model(tmp_path_factory: pytest.TempPathFactory) -> WhisperModel:
    model = load(export_ct2(tmp_path_factory.mktemp("demo") / "ct2"))
    model.model = EncodedOnce(model.model)
    return model


def load(directory: Path) -> WhisperModel:
    return WhisperModel(str(directory), device="cpu", compute_type="int8", cpu_threads=1)


def hear(model: WhisperModel, sample: Sample, **options: object) -> tuple[list[Segment], TranscriptionInfo]:
    segments, info = model.transcribe(str(sample.path), **options)
    return list(segments), info


Heard = Callable[[Sample], tuple[list[Segment], TranscriptionInfo]]


@pytest.fixture(scope="session")
def heard_plainly(demo_model: WhisperModel) -> Heard:
    """What the model makes of a sample without any option; two tests look at it, and it's computed once."""
    return cache(partial(hear, demo_model))


def text_of(segments: list[Segment]) -> str:
    return " ".join(segment.text.strip() for segment in segments)


@pytest.mark.parametrize("name", ["short", "german", "mp3", "video"])
def test_sample_is_transcribed_word_for_word_in_the_language_detected(heard_plainly: Heard, name: str) -> None:
    sample = SAMPLES[name]

    segments, info = heard_plainly(sample)

    assert text_of(segments) == sample.transcript
    assert info.language == sample.language
    assert info.duration == pytest.approx(sample.duration_s, abs=0.1)


@pytest.mark.parametrize("vad_filter", [False, True])
@pytest.mark.parametrize("options", [{"word_timestamps": True}, {"without_timestamps": True}, {"beam_size": 1}])
def test_short_sample_is_transcribed_word_for_word_under_every_option(
    demo_model: WhisperModel, options: dict[str, object], vad_filter: bool
) -> None:
    segments, _ = hear(demo_model, SAMPLES["short"], vad_filter=vad_filter, **options)

    assert text_of(segments) == SAMPLES["short"].transcript


@pytest.mark.parametrize("name", ["short", "german", "long"])
def test_segments_lie_where_the_sentences_were_spoken(heard_plainly: Heard, name: str) -> None:
    sample = SAMPLES[name]

    segments, _ = heard_plainly(sample)

    assert [segment.text.strip() for segment in segments] == [spoken.text for spoken in sample.segments]
    for heard, spoken in zip(segments, sample.segments, strict=True):
        assert heard.start == pytest.approx(spoken.start, abs=BOUNDARY_TOLERANCE_S)
        assert heard.end == pytest.approx(spoken.end, abs=BOUNDARY_TOLERANCE_S)


@pytest.mark.parametrize("vad_filter", [False, True])
def test_silence_gives_no_segments(demo_model: WhisperModel, vad_filter: bool) -> None:
    segments, _ = hear(demo_model, SAMPLES["silence"], vad_filter=vad_filter)

    assert segments == []


def test_model_widened_to_tiny_gives_the_same_transcript(tmp_path: Path) -> None:
    directory = export_ct2(tmp_path / "tiny", "tiny")

    segments, info = hear(load(directory), SAMPLES["short"], beam_size=1)

    assert (directory / "model.bin").stat().st_size > 40_000_000
    assert text_of(segments) == SAMPLES["short"].transcript
    assert info.language == "en"
