"""The marks of a Whisper tokenizer, and those of one that isn't its model's."""

import json
from typing import Any

import pytest
import tokenizers

from demo.tokenizer import tokenizer_json
from demo.weights import read_weights
from worker.engines.marks import Marks, marks_of

SIZE = 51865
"""Ids of a multilingual model."""


def words(**renamed: str) -> Any:
    """The demo's tokenizer, some marks of which have another name."""
    text = json.dumps(tokenizer_json(read_weights().tokens))
    for name, other in renamed.items():
        assert f"<|{name}|>" in text
        text = text.replace(f"<|{name}|>", f"<|{other}|>")
    return tokenizers.Tokenizer.from_str(text)


def test_marks_are_whispers() -> None:
    assert marks_of(words(), SIZE) == Marks(SIZE, end=50257, start=50258, no_speech=50362, timestamps=50364)


def test_the_mark_of_silence_has_two_names() -> None:
    assert marks_of(words(nospeech="nocaptions"), SIZE) == marks_of(words(), SIZE)
    with pytest.raises(ValueError, match=r"has no <\|nospeech\|>"):
        marks_of(words(nospeech="silence"), SIZE)


def test_a_tokenizer_of_a_larger_model_is_refused() -> None:
    marks = marks_of(words(), SIZE)
    with pytest.raises(ValueError, match=f"but the model knows only {marks.timestamps - 1} ids"):
        marks_of(words(), marks.timestamps - 1)
