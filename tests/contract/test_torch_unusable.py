"""Models and cards that the engine in torch can't use: one sentence that says why."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="torch isn't installed: pip install 'murmuration[torch]'")
pytest.importorskip("safetensors", reason="safetensors isn't installed: pip install 'murmuration[torch]'")

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

import demo
from tests.contract.test_torch_fidelity import as_hugging_face, settings_of
from transcription.errors import Fault, ModelUnavailable
from worker import model_cache
from worker.engines.torch.device import loading

Damage = Callable[[Path], None]


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading for a GPU sets it for the whole process."""
    monkeypatch.setattr(sys, "setswitchinterval", lambda _: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hugging Face's directory of the demo model."""
    scratch = tmp_path_factory.mktemp("whole")
    as_hugging_face(demo.export_ct2(scratch / "ct2"), scratch / "hugging")
    config = scratch / "hugging" / "config.json"
    told = json.loads(config.read_text())
    names = load_file(scratch / "hugging" / "model.safetensors")
    for side in ("encoder", "decoder"):
        told[f"{side}_layers"] = len({name.split(".")[3] for name in names if name.startswith(f"model.{side}.layers.")})
    config.write_text(json.dumps(told))
    return scratch / "hugging"


def refused(directory: Path, data: Path, device: str = "cpu", compute_type: str = "float32") -> str:
    """What is said of a model, or of a card that there isn't; this process stands in for the model's own."""
    settings = settings_of("torch", data, str(directory))
    with pytest.raises(ModelUnavailable) as caught:
        loading.load(str(directory), directory, settings, device=device, compute_type=compute_type, kept=32)
    assert (caught.value.fault, caught.value.retryable) == (Fault.PLATFORM, True)
    assert "\n" not in caught.value.message
    return caught.value.message


def without(part: str) -> Damage:
    """Leave out the tensors in whose names *part* is."""

    def damage(directory: Path) -> None:
        tensors = load_file(directory / "model.safetensors")
        kept = {name: tensor for name, tensor in tensors.items() if part not in name}
        assert len(kept) < len(tensors)
        save_file(kept, directory / "model.safetensors")

    return damage


def longer(part: str) -> Damage:
    """A position more for *part* than Whisper has."""

    def damage(directory: Path) -> None:
        tensors = load_file(directory / "model.safetensors")
        name = f"model.{part}.embed_positions.weight"
        tensors[name] = torch.cat([tensors[name], tensors[name][:1]])
        save_file(tensors, directory / "model.safetensors")

    return damage


def without_layers(directory: Path) -> None:
    without("encoder.layers.")(directory)
    told(directory, encoder_layers=0)


def told(directory: Path, **values: Any) -> None:
    """Let config.json tell *values*."""
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | values))


def narrower(directory: Path) -> None:
    tensors = load_file(directory / "model.safetensors")
    name = "model.decoder.embed_tokens.weight"
    tensors[name] = tensors[name][:, :-2].contiguous()
    save_file(tensors, directory / "model.safetensors")


def in_shards(directory: Path) -> None:
    """As large models come, of which the second file is missing."""
    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    first, second = (f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
    save_file({name: tensor for name, tensor in tensors.items() if "encoder" in name}, directory / first)
    places = {name: first if "encoder" in name else second for name in tensors}
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def cut(directory: Path) -> None:
    file = directory / "model.safetensors"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def configured(text: str) -> Damage:
    return lambda directory: (directory / "config.json").write_text(text) and None


def of_other_words(directory: Path) -> None:
    Tokenizer(WordLevel({"[UNK]": 0, "word": 1}, unk_token="[UNK]")).save(str(directory / "tokenizer.json"))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut, "can't be read"),
        (in_shards, "model-00002-of-00002.safetensors can't be read"),
        (without("decoder.layers.1."), "of 2 decoder layers"),
        (without("encoder.layers.0.self_attn.k_proj"), "isn't whole, fetch it anew"),
        (without("decoder.embed_positions"), "isn't whole, fetch it anew"),
        (without("encoder.conv2"), "isn't whole, fetch it anew"),
        (narrower, "they don't belong together"),
        (lambda directory: told(directory, decoder_attention_heads=7), "features in 7 heads"),
        (longer("encoder"), "listens to 1501 steps of sound, not 1500"),
        (longer("decoder"), "writes 449 tokens at most, not 448"),
        (without_layers, "has 0 of 0 encoder layers: fetch the model anew"),
        (configured('{"model_type": "wav2vec2"}'), "is a wav2vec2 model, not Whisper"),
        (configured("{}"), "nameless model, not Whisper"),
        (configured('{"model_type": "whisper"}'), "config.json doesn't tell how many heads"),
        (configured("[1, 2]"), "holds no settings of a model"),
        (configured("not JSON"), "is no JSON"),
        (of_other_words, "tokenizer.json has no <|endoftext|>: it isn't Whisper's"),
    ],
    ids=[
        "cut", "shard", "layer", "projection", "positions", "convolution", "width", "heads",
        "sound", "words", "empty", "architecture", "nameless", "untold", "list", "text", "tokenizer",
    ],
)  # fmt: skip
def test_a_directory_that_is_not_a_whole_whisper_is_refused(
    whole: Path, tmp_path: Path, damage: Damage, said: str
) -> None:
    directory = tmp_path / "model"
    shutil.copytree(whole, directory)
    damage(directory)
    assert said in refused(directory, tmp_path)


def test_what_a_model_s_own_process_refuses_is_said_in_the_same_words(whole: Path, tmp_path: Path) -> None:
    directory = tmp_path / "model"
    shutil.copytree(whole, directory)
    cut(directory)
    with pytest.raises(ModelUnavailable) as caught:
        model_cache.load(str(directory), settings_of("torch", tmp_path, str(directory)))
    assert caught.value.message == refused(directory, tmp_path)


def test_the_directory_before_it_is_damaged_is_loaded(whole: Path, tmp_path: Path) -> None:
    loaded = model_cache.load(str(whole), settings_of("torch", tmp_path, str(whole)))
    assert loaded.device == "cpu"
    loaded.close()


OLD_DRIVER = "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver.\nMore."


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError(OLD_DRIVER), "torch can't use the GPU: The NVIDIA driver on your system is too old"),
        (AssertionError("Torch not compiled with CUDA enabled"), "Torch not compiled with CUDA enabled"),
        (None, "T4 has no bfloat16; take float16 (MURMUR_COMPUTE_TYPE)"),
    ],
    ids=["old-driver", "no-cuda", "type"],
)
def test_a_card_that_torch_cannot_use_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, whole: Path, tmp_path: Path, error: Exception | None, said: str
) -> None:
    def init() -> None:
        if error:
            raise error

    monkeypatch.setattr(torch.cuda, "init", init)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "T4")
    assert said in refused(whole, tmp_path, device="cuda", compute_type="bfloat16")


def test_a_card_that_another_process_has_filled_is_told_with_its_free_memory(
    monkeypatch: pytest.MonkeyPatch, whole: Path, tmp_path: Path
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nMore.")

    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (100 << 20, 80 << 30))
    monkeypatch.setattr(loading, "read_network", full)
    said = refused(whole, tmp_path, device="cuda", compute_type="float16")
    assert "doesn't fit: the GPU has 100 of 81920 MiB free; end what else uses it" in said
