"""Whatever a client's text says, a window is over after a bounded number of passes, each of which gets on."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from demo import SAMPLES
from tests.encoded_once import EncodedOnce
from tests.platform import eventually
from tests.ready_model import with_ready_model
from transcription.media.audio import RATE
from transcription.media.codecs.decode import decode
from transcription.options import Decoding, Task
from transcription.settings import Settings
from transcription.spans import Span
from worker import model_cache
from worker.audio.windows import Window
from worker.batcher import Batcher, Key
from worker.engines import stages
from worker.engines.faster_whisper import FasterWhisper
from worker.engines.row import TEMPERATURES, Row

CONTROL = "<|startoftranscript|><|endoftext|><|0.00|><|notimestamps|><|nospeech|><|de|><|translate|>" * 20


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FasterWhisper]:
    settings = Settings(data_dir=with_ready_model(tmp_path_factory.mktemp("data")), model="demo")
    loaded = model_cache.load("demo", settings)
    assert isinstance(loaded, FasterWhisper)
    executor: Any = loaded._batcher._executor
    executor.encoder = EncodedOnce(executor.encoder)
    yield loaded
    loaded.close()


@cache
def window(at: float = 0.0) -> Window:
    sample = SAMPLES["short"]
    samples = decode(Path(sample.path), limit_s=60)[: round(sample.segments[0].end * RATE)]
    return Window.collect([Span(at, at + samples.size / RATE)], samples, offset_s=at)


def write(engine: FasterWhisper, **asked: Any) -> tuple[str, list[Span]]:
    skipped: list[Span] = []
    parts = engine.transcribe(
        [window()], Decoding(**asked), language="en", owner="o", cancelled=lambda: False, skipped=skipped.append
    )
    return "".join(segment.text for part in parts for segment in part), skipped


@pytest.mark.parametrize("text", [CONTROL, "<|endoftext|>", "<<|0.00|>>", "a<|en|>b <|", "<|startoftranscript"])
def test_control_tokens_in_a_text_are_text(engine: FasterWhisper, text: str) -> None:
    tokenizer = engine._tokenizer(Task.TRANSCRIBE, "en")
    ids = tokenizer.encode(text)
    assert all(token < tokenizer.eot for token in ids)
    assert tokenizer.decode(ids).replace(" ", "") == text.replace(" ", "")
    assert (
        tokenizer.encode("Hello there, you.")
        == tokenizer.tokenizer.encode("Hello there, you.", add_special_tokens=False).ids
    )


@pytest.mark.parametrize("option", ["prompt", "hotwords"])
def test_a_prompt_of_control_tokens_costs_no_more_than_another(engine: FasterWhisper, option: str) -> None:
    before = engine.steps
    _, skipped = write(engine, **{option: CONTROL[:1400]})
    assert engine.steps - before <= 3 * (len(TEMPERATURES) + 2)
    assert not skipped


def test_a_pass_that_does_not_get_on_is_tried_at_every_temperature_and_then_skipped(
    engine: FasterWhisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine._whisper, "_split_segments_by_timestamps", lambda **asked: ([], asked["seek"], False))
    before = engine.steps
    text, skipped = write(engine)
    assert (text, len(skipped)) == ("", 1)
    assert skipped[0].start == 0.0
    assert skipped[0].end == pytest.approx(window().seconds, abs=0.05)
    assert engine.steps - before == 1 + len(TEMPERATURES)


def test_what_is_skipped_is_told_where_it_stands_in_the_recording(
    engine: FasterWhisper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine._whisper, "_split_segments_by_timestamps", lambda **asked: ([], asked["seek"], False))
    skipped: list[Span] = []
    rest = engine.transcribe(
        [window(100.0)], Decoding(temperature=0.5), language="en", owner="o", cancelled=lambda: False,
        skipped=skipped.append,
    )  # fmt: skip
    assert list(rest) == [[]]
    (part,) = skipped
    assert (part.start, part.end) == (100.0, pytest.approx(100.0 + window().seconds, abs=0.05))


@pytest.mark.parametrize("grows", [True, False])
def test_windows_are_begun_ahead_unless_they_are_to_see_the_text_before_them(
    engine: FasterWhisper, monkeypatch: pytest.MonkeyPatch, *, grows: bool
) -> None:
    begun: list[Row] = []

    def submit(row: Row, **_: Any) -> Future[Row]:
        begun.append(row)
        done: Future[Row] = Future()
        done.set_result(row)
        return done

    monkeypatch.setattr(engine, "_submit", submit)
    decoding = Decoding(condition_on_previous_text=grows, prompt="Zulu")
    parts = engine.transcribe([window()] * 50, decoding, language="en", owner="o", cancelled=lambda: False)
    assert next(parts) == []
    assert (len(begun) == 1) is grows
    assert begun[0].context.tokens() == engine._tokenizer(Task.TRANSCRIBE, "en").encode(" Zulu")


def test_passes_over_a_window_are_bounded(engine: FasterWhisper, monkeypatch: pytest.MonkeyPatch) -> None:
    passes, crawl = 4, 22  # frames
    assert passes <= stages.MAX_PASSES <= 64
    monkeypatch.setattr(stages, "MAX_PASSES", passes)
    monkeypatch.setattr(
        engine._whisper, "_split_segments_by_timestamps", lambda **asked: ([], asked["seek"] + crawl, False)
    )
    before = engine.steps
    _, (skipped,) = write(engine, temperature=0.5)
    assert skipped.start == pytest.approx(passes * crawl / 100, abs=0.01)
    assert engine.steps - before <= 2 * passes


class Hanging:
    """An executor in which the rows of one owner never come back."""

    splits = False

    def __init__(self) -> None:
        self.free = threading.Event()

    def limit(self, stage: int) -> int:
        return 1

    def compute(self, key: Key, rows: Any) -> list[None]:
        if rows[0] == "hangs":
            self.free.wait(30)
        return [None]


def test_steps_for_others_are_no_progress_of_a_row_that_hangs() -> None:
    executor = Hanging()
    batcher: Batcher[str] = Batcher(executor, workers=2, capacity=10)
    try:
        hung = batcher.submit("hangs", Key(0), owner="a", cancelled=lambda: False)
        eventually(lambda: batcher.progress("a") is not None)
        seen, steps = batcher.progress("a"), batcher.steps
        for _ in range(5):
            batcher.submit("quick", Key(0), owner="b", cancelled=lambda: False).result(10)
        assert batcher.steps > steps
        assert batcher.progress("a") == seen
        assert batcher.progress("b") is None
        executor.free.set()
        hung.result(10)
        eventually(lambda: batcher.progress("a") is None)
    finally:
        executor.free.set()
        batcher.close()
