from pathlib import Path

import pytest

from transcription.lanes import lane, traits
from transcription.ledger.broker import queue_of
from transcription.spans import span_length


def test_lane_is_the_model_and_what_it_needs_line_by_line() -> None:
    assert lane("demo", needs={}) == "demo"
    assert lane("demo", languages=("de",), needs={}) == "demo\nlanguage=de"
    needs = {"engine": "faster_whisper", "device": "cuda"}
    assert lane("demo", needs=needs) == "demo\ndevice=cuda\nengine=faster_whisper"


def test_a_queue_is_called_as_its_page_says() -> None:
    name = queue_of(lane("large-v3", languages=("en",), needs={"device": "cuda"}))
    page = (Path(__file__).parents[2] / "docs" / "celery.md").read_text(encoding="utf-8")
    assert f"`{name}`" in page
    assert f"`{name}`" in str(queue_of.__doc__)


def test_worker_without_languages_has_any() -> None:
    assert traits(engine="e", device="d", languages=()) == ("engine=e", "device=d", "language=*")
    assert traits(engine="e", device="d", languages=("de", "en"))[2:] == ("language=de", "language=en")


@pytest.mark.parametrize(("rate", "seconds"), [(None, 300), (0.1, 60), (1.0, 60), (2.5, 150), (5.0, 300), (900.0, 300)])
def test_slow_workers_cut_shorter_spans(rate: float | None, seconds: float) -> None:
    assert span_length(300, rate) == seconds
    assert span_length(30, rate) == 30
