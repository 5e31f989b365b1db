"""The words of an alignment, beside those that faster-whisper makes of it."""

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faster_whisper import WhisperModel
from tokenizers import Tokenizer

import demo
from worker.engines.alignment import Alignment, words_of
from worker.engines.text import TextTokenizer

TEXTS = {
    "en": " Pack the boxes, please. The train (it is late) leaves platform nine at 7.30, and nobody waits for it.",
    "de": " Wo ist der Garten? Der Zug kommt am Montag um neun Uhr.",
    "ja": "電車は九時に来ます。",
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    directory = demo.export_ct2(tmp_path_factory.mktemp("model") / "demo")
    return Tokenizer.from_file(str(Path(directory, "tokenizer.json")))


def theirs(alignment: Alignment, tokens: list[int], tokenizer: TextTokenizer) -> list[dict[str, Any]]:
    model: Any = SimpleNamespace(model=SimpleNamespace(align=lambda *_, **__: [alignment]), tokens_per_second=50)
    (words,) = WhisperModel.find_alignment(model, tokenizer, [tokens], None, 1500)
    return words  # type: ignore[no-any-return]


@pytest.mark.parametrize("language", sorted(TEXTS))
@pytest.mark.parametrize("seed", range(4))
def test_words_are_those_that_faster_whisper_makes_of_an_alignment(
    tokenizer: Tokenizer, language: str, seed: int
) -> None:
    dice = random.Random(seed)
    tokens = tokenizer.encode(TEXTS[language], add_special_tokens=False).ids
    path, step = [], 0
    for token in range(len(tokens) + 1):
        for _ in range(dice.randint(1, 12)):
            path.append((token, step))
            step += dice.randint(0, 1)
    alignment = Alignment(path, [dice.random() for _ in tokens])
    spelt = TextTokenizer(tokenizer, True, task="transcribe", language=language)
    ours, expected = words_of(alignment, tokens, spelt), theirs(alignment, tokens, spelt)
    assert len(ours) > 1
    for word, other in zip(ours, expected, strict=True):
        assert word["probability"] == pytest.approx(other["probability"], rel=1e-12)
        assert {**word, "probability": 0} == {**other, "probability": 0}


def test_a_text_of_no_tokens_has_no_words(tokenizer: Tokenizer) -> None:
    spelt = TextTokenizer(tokenizer, True, task="transcribe", language="en")
    assert words_of(Alignment([(0, 0), (0, 1)], []), [], spelt) == []
