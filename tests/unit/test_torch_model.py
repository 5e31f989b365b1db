"""A model in torch by itself: what it says it can, how it tells languages, and how it ends."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch isn't installed: pip install 'murmuration[torch]'")

import torch
from tokenizers import Tokenizer

import demo
from demo import SAMPLES
from transcription.errors import Stopped
from transcription.media.codecs.decode import decode
from worker.engines.torch.mel import Sound
from worker.engines.torch.model import TorchModel
from worker.engines.torch.network import Network
from worker.engines.torch.weights import read_network

ENGLISH_ONLY, MULTILINGUAL = 51_864, 51_865


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> tuple[Network, Tokenizer]:
    directory = demo.export_ct2(tmp_path_factory.mktemp("models") / "demo")
    network = read_network(directory, device="cpu", compute_type="float32")
    return network, Tokenizer.from_file(str(directory / "tokenizer.json"))


@pytest.fixture
def model(read: tuple[Network, Tokenizer]) -> Iterator[TorchModel]:
    made = TorchModel(*read, compute_type="float32", slots=2, suppressed=())
    yield made
    made.stop()


def test_a_model_of_english_alone_is_not_multilingual(read: tuple[Network, Tokenizer], model: TorchModel) -> None:
    network, tokenizer = read
    assert network.vocabulary == MULTILINGUAL
    assert model.is_multilingual
    smaller = replace(network, decoder=replace(network.decoder, vocabulary=ENGLISH_ONLY))
    english = TorchModel(smaller, tokenizer, compute_type="float32", slots=2, suppressed=())
    english.stop()
    assert not english.is_multilingual


def test_languages_share_a_whole_and_the_most_probable_is_first(model: TorchModel) -> None:
    heard = [decode(SAMPLES[name].path, limit_s=30) for name in ("short", "german")]
    rows = model.detect_language(model.encode([(Sound(samples, model.n_mels), 0) for samples in heard]))
    assert [row[0][0] for row in rows] == ["<|en|>", "<|de|>"]
    for row in rows:
        chances = [chance for _, chance in row]
        assert chances == sorted(chances, reverse=True)
        assert sum(chances) == pytest.approx(1, abs=1e-4)


def test_languages_are_told_among_those_that_the_model_s_makers_name(read: tuple[Network, Tokenizer]) -> None:
    network, tokenizer = read
    named = tuple(int(tokenizer.token_to_id(f"<|{name}|>")) for name in ("en", "fr"))
    model = TorchModel(replace(network, languages=named), tokenizer, compute_type="float32", slots=2, suppressed=())
    try:
        german = Sound(decode(SAMPLES["german"].path, limit_s=30), model.n_mels)
        ((first, second),) = model.detect_language(model.encode([(german, 0)]))
    finally:
        model.stop()
    assert {first[0], second[0]} == {"<|en|>", "<|fr|>"}
    assert first[1] + second[1] == pytest.approx(1, abs=1e-4)


def test_a_stopped_model_takes_no_more_work(model: TorchModel) -> None:
    sound = Sound(np.zeros(16_000, np.float32), model.n_mels)
    assert model.encode([(sound, 0)])
    model.stop()
    with pytest.raises(Stopped):
        model.encode([(sound, 0)])


@pytest.mark.parametrize(
    ("error", "works"),
    [
        (None, True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
    ],
)
def test_a_device_works_that_still_computes_something(
    monkeypatch: pytest.MonkeyPatch, model: TorchModel, error: Exception | None, works: bool
) -> None:
    threads: list[str] = []
    ones = torch.ones

    def computed(*given: Any, **how: Any) -> torch.Tensor:
        threads.append(threading.current_thread().name)
        if error:
            raise error
        return ones(*given, **how)

    monkeypatch.setattr(torch, "ones", computed)
    assert model.works() is works
    assert threads == ["torch"], "another's stream may be capturing"
    model.stop()
    assert model.works(), "nobody asks it any more"
