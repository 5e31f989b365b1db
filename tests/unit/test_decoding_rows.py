"""A window on its way through the decoder: which temperature comes next, what leads it, and whether it goes round."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from transcription.options import Decoding
from worker.batcher import Key
from worker.engines.row import Attempt, Context, Row, ladder
from worker.engines.stages import Stages, encode_key

POOR = -5.0


def attempt(temperature: float = 0.0, logprob: float = -0.3) -> Attempt:
    return Attempt((), temperature, logprob, 1.5, 0.1)


def row(frames: int = 3000, **decoding: Any) -> Row:
    return Row(
        features=np.zeros((80, frames), np.float32),
        frames=frames,
        tokenizer=SimpleNamespace(decode=lambda tokens: "".join(map(str, tokens))),  # type: ignore[arg-type]
        decoding=Decoding(**decoding),
        context=Context([1, 2], grows=bool(decoding.get("condition_on_previous_text"))),
        digest=b"",
    )


def test_poor_text_is_tried_at_six_temperatures_one_after_another() -> None:
    one = row()
    tried = []
    while not tried or not one.settled:
        tried.append(one.temperature)
        one.attempts.append(attempt(tried[-1], POOR))
    assert tried == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]


def test_good_text_is_taken_at_once() -> None:
    one = row()
    one.attempts.append(attempt())
    assert one.settled


@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_temperature_that_was_asked_for_is_the_only_one(temperature: float) -> None:
    assert ladder(temperature) == (temperature,)
    one = row(temperature=temperature)
    one.attempts.append(attempt(temperature, POOR))
    assert one.settled


def test_text_leads_the_next_window_only_where_that_was_asked_for() -> None:
    conditioned, plain = Context([1, 2], grows=True), Context([1, 2], grows=False)
    for context in (conditioned, plain):
        context.add([3, 4])
        context.end_pass(0.0)
    assert (conditioned.tokens(), plain.tokens()) == ([1, 2, 3, 4], [1, 2])


@pytest.mark.parametrize(("temperature", "kept"), [(0.0, True), (0.4, True), (0.6, False), (1.0, False)])
def test_text_that_needed_a_high_temperature_leads_no_further(temperature: float, kept: bool) -> None:
    context = Context([1, 2], grows=True)
    context.add([3, 4])
    context.end_pass(temperature)
    assert context.tokens() == ([1, 2, 3, 4] if kept else [])
    context.add([5])
    context.end_pass(0.0)
    assert context.tokens() == ([1, 2, 3, 4, 5] if kept else [5])


def test_prompt_of_the_client_is_never_thrown_away_where_text_does_not_lead() -> None:
    context = Context([1, 2], grows=False)
    context.end_pass(1.0)
    assert context.tokens() == [1, 2]


@pytest.mark.parametrize(
    ("seek", "frames", "further"), [(0, 3000, True), (1500, 3000, True), (2979, 3000, True), (2980, 3000, False)]
)
def test_window_goes_round_again_while_there_is_sound_left(seek: int, frames: int, further: bool) -> None:
    model: Any = SimpleNamespace(model=SimpleNamespace(device="cpu"))
    stages = Stages(model, encode_batch=1, decode_batch=4, encoder=SimpleNamespace())  # type: ignore[arg-type]
    one = row(frames, condition_on_previous_text=True)
    one.seek = seek
    one.attempts = [attempt()]
    one.pieces = [{"start": 0.0, "end": 1.0, "tokens": [7, 8], "seek": 0}]
    following: Key | None = stages._end_pass(one)
    assert following == (encode_key(one) if further else None)
    assert [segment.tokens for segment in one.segments] == [(7, 8)]
    assert one.context.tokens() == [1, 2, 7, 8]


@pytest.mark.parametrize(("logprob", "said"), [(-1.5, []), (-0.3, [(7, 8)])])
def test_silence_has_no_segments_unless_what_was_written_is_probable(logprob: float, said: list[object]) -> None:
    pieces = [{"start": 0.0, "end": 1.0, "tokens": [7, 8], "seek": 0}]
    model: Any = SimpleNamespace(
        model=SimpleNamespace(device="cpu"), _split_segments_by_timestamps=lambda **_: (pieces, 3000, True)
    )
    stages = Stages(model, encode_batch=1, decode_batch=4, encoder=SimpleNamespace())  # type: ignore[arg-type]
    one = row()
    one.size = 3000
    one.attempts = [Attempt((7, 8), 0.0, logprob, 1.5, 0.9)]
    assert stages._assess(one) is None
    assert one.seek == 3000
    assert [segment.tokens for segment in one.segments] == said
