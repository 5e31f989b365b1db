"""A window on its way through the decoder: which temperature comes next, what leads it, and whether it goes round."""

import json
from collections.abc import Sequence
from functools import cache
from itertools import accumulate, pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from demo.tokenizer import tokenizer_json
from demo.weights import read_weights
from transcription.errors import EngineFailed
from transcription.options import Decoding
from transcription.spans import Span
from transcription.transcript import Segment
from worker.audio.windows import Window
from worker.batcher import DeviceLost, Key
from worker.engines import gpu
from worker.engines.alignment import Alignment
from worker.engines.row import Attempt, Context, LanguageRow, Row, ladder
from worker.engines.stages import Stage, Stages, encode_key
from worker.engines.text import TextTokenizer

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


def test_what_takes_no_time_by_the_model_s_own_timestamps_was_made_up() -> None:
    written = {"start": 0.0, "end": 1.0, "tokens": [7, 8], "seek": 0}
    pieces = [written, {"start": 1.0, "end": 1.0, "tokens": [9], "seek": 0}]
    model: Any = SimpleNamespace(
        model=SimpleNamespace(device="cpu"), _split_segments_by_timestamps=lambda **_: (pieces, 3000, True)
    )
    stages = Stages(model, encode_batch=1, decode_batch=4, encoder=SimpleNamespace())  # type: ignore[arg-type]
    one = row()
    one.size = 3000
    stages._split(one, attempt())
    assert one.pieces == [written]


@cache
def tokenizer() -> TextTokenizer:
    words = tokenizers.Tokenizer.from_str(json.dumps(tokenizer_json(read_weights().tokens)))
    return TextTokenizer(words, True, task="transcribe", language="en")


def heard(texts: Sequence[str], steps: Sequence[int], *, timed: bool, words: bool) -> list[Segment]:
    """
    What comes of a window of 3 s, two stretches of speech, in which *texts* were written.

    Args:
        texts: A piece for each with *timed*, together one without.
        steps: Where each of their tokens was found, and the end, in steps of 20 ms.
        timed: Whether the model wrote timestamps: those of the first token of each, and of the next one's.
        words: Whether words were asked for.
    """
    tokens = [tokenizer().encode(text) for text in texts]
    count = sum(map(len, tokens))
    path = [(n, at) for n, (a, b) in enumerate(pairwise([*steps, steps[-1] + 1])) for at in range(a, max(b, a + 1))]
    model = SimpleNamespace(device="cpu", align=lambda *_: [Alignment(path, [0.9] * count)])
    whisper: Any = SimpleNamespace(model=model, frames_per_second=100, tokens_per_second=50)
    stages = Stages(whisper, encode_batch=1, decode_batch=1, encoder=SimpleNamespace())  # type: ignore[arg-type]
    one = row(300, word_timestamps=words)
    one.tokenizer, one.size, one.seek, one.attempts = tokenizer(), 300, 300, [attempt()]
    one.timed, one.encoding = timed, np.zeros((1, 1, 1), np.float32)
    one.pieces = [{"seek": 0, "start": 0.0, "end": 3.0, "tokens": [token for part in tokens for token in part]}]
    if timed:
        first = [steps[n] * 0.02 for n in accumulate(map(len, tokens), initial=0)]
        one.pieces = [
            {"seek": 0, "start": a, "end": b, "tokens": part}
            for (a, b), part in zip(pairwise(first), tokens, strict=True)
        ]
    stages._align([one]) if words or not timed else stages._end_pass(one)
    return Window((Span(10.0, 11.5), Span(20.0, 21.5)), np.zeros(0, np.float32)).restore(one.segments)


def test_a_sentence_whose_words_were_found_at_one_moment_is_not_lost() -> None:
    texts = [" Are you there?", " No.", " Come here now please."]
    steps = [0, 10, 20, 30, 60, 60, 60, 70, 80, 90, 100, 110]
    found = heard(texts, steps, timed=False, words=True)
    assert [(segment.text, segment.start) for segment in found] == [
        (" Are you there?", 10.0), (" No. Come here now please.", 11.2),
    ]  # fmt: skip


SENTENCES = [" Are you there?", " No.", " Come here now please.", " Yes!", " Who is in the house?", " The river"]


@settings(deadline=None)
@given(st.data(), st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=5), st.booleans(), st.booleans())
def test_no_text_is_lost_wherever_its_words_were_found(
    data: st.DataObject, texts: list[str], timed: bool, words: bool
) -> None:
    count = sum(len(tokenizer().encode(text)) for text in texts) + 1
    latest = data.draw(st.integers(0, 149))
    steps = sorted(data.draw(st.lists(st.integers(0, latest), min_size=count, max_size=count)))
    found = heard(texts, steps, timed=timed, words=words)
    assert "".join(segment.text for segment in found) == "".join(texts)
    assert all(segment.start < segment.end for segment in found)
    assert all(before.end <= after.start for before, after in pairwise(found))
    if words:
        assert ["".join(word.word for word in segment.words or ()) for segment in found] == [one.text for one in found]


@pytest.mark.parametrize(
    ("device", "answers", "failed", "asked"),
    [
        ("cuda", [False, False], DeviceLost, 2),
        ("cuda", [False, True], EngineFailed, 2),  # the error of before was told once more
        ("cuda", [True], EngineFailed, 1),  # it was this batch's alone
        ("cpu", [], EngineFailed, 0),
    ],
)
def test_after_an_error_a_gpu_is_asked_whether_it_works_at_all(
    monkeypatch: pytest.MonkeyPatch, device: str, answers: list[bool], failed: type[EngineFailed], asked: int
) -> None:
    said = iter(answers)
    times: list[bool] = []

    def works() -> bool:
        times.append(answer := next(said))
        return answer

    def generate(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA failed with error an illegal memory access was encountered")

    monkeypatch.setattr(gpu, "works", works)
    model = SimpleNamespace(device=device, compute_type="float16", detect_language=generate)
    stages = Stages(SimpleNamespace(model=model), encode_batch=1, decode_batch=1)  # type: ignore[arg-type]
    one = LanguageRow(np.zeros((80, 10), np.float32), b"", encoding=np.zeros((1, 1, 1), np.float32))
    with pytest.raises(EngineFailed, match="language: CUDA failed") as caught:
        stages.compute(Key(Stage.LANGUAGE), [one])
    assert type(caught.value) is failed
    assert len(times) == asked
