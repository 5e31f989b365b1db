import pytest

from transcription.lanes import lane, traits
from transcription.spans import span_length


def test_lane_is_the_model_and_what_it_needs_line_by_line() -> None:
    assert lane("demo", needs={}) == "demo"
    assert lane("demo", languages=("de",), needs={}) == "demo\nlanguage=de"
    needs = {"engine": "faster_whisper", "device": "cuda"}
    assert lane("demo", needs=needs) == "demo\ndevice=cuda\nengine=faster_whisper"


def test_worker_without_languages_has_any() -> None:
    assert traits(engine="e", device="d", languages=()) == ("engine=e", "device=d", "language=*")
    assert traits(engine="e", device="d", languages=("de", "en"))[2:] == ("language=de", "language=en")


@pytest.mark.parametrize(("rate", "seconds"), [(None, 300), (0.1, 60), (1.0, 60), (2.5, 150), (5.0, 300), (900.0, 300)])
def test_slow_workers_cut_shorter_spans(rate: float | None, seconds: float) -> None:
    assert span_length(300, rate) == seconds
    assert span_length(30, rate) == 30
