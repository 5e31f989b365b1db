"""A model in torch by itself: what it says it can, how it tells languages, and how it ends."""

import threading
import weakref
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
from worker.engines.torch.asked import Asked
from worker.engines.torch.device import graphs, host
from worker.engines.torch.device.mel import Sound
from worker.engines.torch.device.model import TorchModel
from worker.engines.torch.device.network import Network
from worker.engines.torch.device.weights import read_network

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


def test_an_encoding_that_is_kept_keeps_no_other_in_memory(model: TorchModel) -> None:
    sounds = [Sound(np.zeros(16_000, np.float32), model.n_mels) for _ in range(4)]
    encoded = model.encode([(sound, 0) for sound in sounds])
    assert [one.untyped_storage().nbytes() for one in encoded] == [one.nbytes for one in encoded]


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


@pytest.mark.parametrize(("part", "count"), [(1, 6), (2, 3), (4, 1), (64, 1)])
def test_slots_are_one_in_so_many_of_those_asked_for_and_one_at_least(
    read: tuple[Network, Tokenizer], part: int, count: int
) -> None:
    model = TorchModel(*read, compute_type="float32", slots=6, suppressed=())
    model.stop()
    assert model._make_slots(1, part).count == count


class Ends:
    """Counts, by the names of the threads, where the memory is let go that tensors are sent to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads: Counter[str] = Counter()
        self._place_for = host.place_for
        monkeypatch.setattr(host, "place_for", self.made)
        monkeypatch.setattr(graphs, "place_for", self.made)

    def made(self, tensor: torch.Tensor) -> torch.Tensor:
        place = self._place_for(tensor)
        weakref.finalize(place, lambda: self.threads.update([threading.current_thread().name]))
        return place


def test_memory_that_a_device_sent_to_is_let_go_by_its_own_thread_whoever_has_read_it(
    monkeypatch: pytest.MonkeyPatch, read: tuple[Network, Tokenizer]
) -> None:
    """In another, while that thread captures, torch would spoil the graph: on a card «CUDA error: invalid argument»."""
    ends = Ends(monkeypatch)
    model = TorchModel(*read, compute_type="float32", slots=2, suppressed=())
    start = [int(read[1].token_to_id(f"<|{name}|>")) for name in ("startoftranscript", "en", "transcribe")]
    heard = decode(SAMPLES["short"].path, limit_s=30)

    def use(number: int) -> str:
        encoded = model.encode([(Sound(heard, model.n_mels), 0)])
        language = model.detect_language(encoded)[0][0][0]
        asked = Asked((*start, int(read[1].token_to_id("<|notimestamps|>"))), 0, 1 + 4 * (number % 2), 0.0, False, 30)
        (written,) = model.generate(encoded, [asked])
        (aligned,) = model.align(encoded, [start], [written.sequences_ids[0]], [300])
        assert len(aligned.text_token_probs) == len(written.sequences_ids[0]) > 0
        return language

    with ThreadPoolExecutor(3, thread_name_prefix="caller") as pool:
        assert [*pool.map(use, range(6))] == ["<|en|>"] * 6
    model.stop()
    assert set(ends.threads) == {"torch"}
    # Of each of the six one language, one text with its figures, one alignment with its chances; the last waits.
    assert ends.threads["torch"] >= 6 * (1 + 2 + 2) - 2


def test_what_failed_on_a_device_is_let_go_by_its_own_thread_too(
    monkeypatch: pytest.MonkeyPatch, model: TorchModel
) -> None:
    ends = Ends(monkeypatch)

    def launched() -> None:
        waves = host.place_for(torch.zeros(4))
        raise RuntimeError(f"CUDA error: {waves.shape}")

    def failing(*_: object) -> None:
        try:
            launched()
        except RuntimeError as error:
            raise RuntimeError("the graph can't be captured either") from error

    monkeypatch.setattr(model, "_log_mel", failing)
    with pytest.raises(RuntimeError, match="either") as encoded:
        model.encode([(Sound(np.zeros(16_000, np.float32), model.n_mels), 0)])
    monkeypatch.setattr(model, "_tell_language", failing)
    with pytest.raises(RuntimeError, match="either") as told:
        model.detect_language([torch.zeros(1, 1500, 4)])
    assert (encoded.value is not told.value, ends.threads) == (True, {"torch": 2})


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
