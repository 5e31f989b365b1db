"""What windows ask of the model in torch: how they are searched, how long their text may be, and who goes together."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from transcription.errors import EngineFailed
from transcription.options import Decoding
from worker.batcher import DeviceLost, Key
from worker.engines.row import Attempt, Context, LanguageRow, Row
from worker.engines.stages import BEST_OF, Stage
from worker.engines.torch.asked import Asked
from worker.engines.torch.stages import TorchStages

LENGTH, START = 448, 50258


class Model:
    """Takes down what it is asked, and answers nothing."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.working = True
        self.passes: list[tuple[Any, int]] = []
        self.asked: list[Asked] = []

    def encode(self, passes: list[tuple[Any, int]]) -> list[str]:
        self.passes += passes
        return [f"encoded {number}" for number in range(len(passes))]

    def generate(self, encoded: list[Any], asked: list[Asked]) -> list[Any]:
        assert len(encoded) == len(asked)
        self.asked += asked
        raise RuntimeError("this is no model")

    def works(self) -> bool:
        return self.working

    def start_of(self, prompt: list[int]) -> int:
        return prompt.index(START)


def made(device: str = "cpu", **how: Any) -> tuple[TorchStages, Model]:
    model = Model(device)
    whisper = SimpleNamespace(
        model=model,
        max_length=LENGTH,
        get_prompt=lambda _, previous, **__: [*([7] if previous else []), *previous, START, 50259, 50359],
    )
    return TorchStages(whisper, encode_batch=4, decode_batch=4, **how), model


def row(*, seek: int = 0, said_before: int = 0, tries: int = 0, **decoding: Any) -> Row:
    bad = Attempt((), 0.0, -9.0, 9.0, 0.0)
    context = Context([5] * said_before, grows=False)
    made = Row(np.zeros((80, 300)), 300, SimpleNamespace(), Decoding(**decoding), context, b"", seek=seek)
    made.attempts = [bad] * tries
    return made


def asked(rows: list[Row], device: str = "cpu") -> list[Asked]:
    """How *rows* are written once they are encoded."""
    stages, model = made(device)
    tries = [one.attempts for one in rows]
    keys = stages.compute(Key(Stage.ENCODE), rows)
    for one, attempts in zip(rows, tries, strict=True):
        one.attempts = attempts  # an encoded row has none yet
    assert keys == [Key(Stage.DECODE)] * len(rows)  # whatever they ask, they go together
    with pytest.raises(EngineFailed, match="this is no model"):
        stages.compute(Key(Stage.DECODE), rows)
    return model.asked


def test_beams_are_searched_and_above_temperature_zero_as_many_texts_drawn_as_elsewhere() -> None:
    first, second, drawn = asked([row(beam_size=3), row(beam_size=3, tries=2), row(beam_size=1, temperature=0.7)])
    assert (first.width, first.temperature) == (3, 0.0)
    assert (second.width, second.temperature) == (BEST_OF, 0.4)
    assert (drawn.width, drawn.temperature) == (BEST_OF, 0.7)


@pytest.mark.parametrize(
    ("said_before", "limit"),
    [
        (0, 224),  # as Whisper: half of what the model knows
        (223, 222),  # nor more than there is room for after what is before it
    ],
)
def test_a_text_has_the_room_that_it_has_in_ctranslate2(said_before: int, limit: int) -> None:
    (one,) = asked([row(said_before=said_before)])
    assert one.limit == limit
    assert len(one.prompt) - 1 + one.limit <= LENGTH
    assert one.prompt[one.start] == START


@pytest.mark.parametrize(
    ("device", "asks", "timed"),
    [
        ("cpu", {"word_timestamps": True}, True),
        ("cuda", {}, True),
        ("cuda", {"word_timestamps": True}, False),  # what words are aligned by times the segments, too
        ("cuda", {"word_timestamps": True, "condition_on_previous_text": True}, True),
        ("cuda", {"word_timestamps": True, "segmentation": "timestamps"}, True),
        ("cpu", {"segmentation": "words"}, False),
    ],
)
def test_timestamps_are_written_where_nothing_else_tells_when(device: str, asks: dict[str, Any], timed: bool) -> None:
    (one,) = asked([row(**asks)], device)
    assert one.timed is timed


def test_passes_are_encoded_together_from_where_each_begins_as_sounds() -> None:
    stages, model = made()
    rows: list[Row | LanguageRow] = [row(), row(seek=120), LanguageRow(np.zeros((80, 300)), b"other")]
    stages.compute(Key(Stage.ENCODE), rows)
    assert [seek for _, seek in model.passes] == [0, 120, 0]
    assert all(sound is one.features for (sound, _), one in zip(model.passes, rows, strict=True))
    assert [one.encoding for one in rows] == ["encoded 0", "encoded 1", "encoded 2"]


@pytest.mark.parametrize(("working", "failed"), [(False, DeviceLost), (True, EngineFailed)])
def test_a_device_that_the_model_says_computes_nothing_more_is_lost(working: bool, failed: type[EngineFailed]) -> None:
    stages, model = made()
    model.working = working
    rows = [row()]
    stages.compute(Key(Stage.ENCODE), rows)
    with pytest.raises(EngineFailed, match="this is no model") as caught:
        stages.compute(Key(Stage.DECODE), rows)
    assert type(caught.value) is failed


@pytest.mark.parametrize(("kept", "encoded"), [(128, 128), (32, 224)])
def test_a_window_whose_language_was_told_is_encoded_once_however_many_are_told_first(kept: int, encoded: int) -> None:
    stages, model = made(kept=kept)
    sounds = [bytes([number]) for number in range(128)]
    for sound in sounds:
        stages.compute(Key(Stage.ENCODE), [LanguageRow(np.zeros((80, 300)), sound)])
    for sound in sounds:
        stages.compute(Key(Stage.ENCODE), [replace(row(), digest=sound)])
    assert len(model.passes) == encoded


def test_windows_are_heard_in_one_length_and_a_batch_is_never_split() -> None:
    stages, _ = made()
    assert (stages.any_length, stages.splits) == (False, False)
