"""What the torch engine reads of a published model: numbers, a tokenizer's marks, what is told beside them."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch isn't installed: pip install 'murmuration[torch]'")
pytest.importorskip("safetensors", reason="safetensors isn't installed: pip install 'murmuration[torch]'")

import torch
from safetensors.torch import save_file

import demo
from demo.ct2 import write_ct2
from demo.weights import read_weights
from tests.contract.test_torch_fidelity import as_hugging_face
from tests.contract.test_torch_unusable import told
from worker.engines.model_bin import ModelBin
from worker.engines.torch.device.files import Ct2Tensors, read_safetensors
from worker.engines.torch.device.network import Network
from worker.engines.torch.device.weights import DTYPES, read_network

WEIGHT = "encoder/layer_0/ffn/linear_0/weight"


@pytest.mark.parametrize("kind", ["int8", "int16", "float16", "bfloat16", None])
def test_every_type_of_number_is_read(tmp_path: Path, kind: str | None) -> None:
    write_ct2(read_weights(), tmp_path, quantization=kind)
    found, known = Ct2Tensors(tmp_path / "model.bin"), ModelBin(tmp_path / "model.bin")
    assert set(found) == set(known.names())
    for name in (WEIGHT, "decoder/embeddings/weight", "encoder/conv1/bias"):
        assert np.array_equal(found[name].float().numpy(), known.floats(name))


def test_one_file_is_read_whatever_an_index_beside_it_says(tmp_path: Path) -> None:
    save_file({"model.encoder.conv1.bias": torch.ones(3)}, tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"model.encoder.conv1.bias": "gone"}}')
    assert read_safetensors(tmp_path)["encoder/conv1/bias"].tolist() == [1, 1, 1]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return demo.export_ct2(tmp_path_factory.mktemp("published") / "demo")


def read(source: Path, directory: Path, compute_type: str = "float32", **values: Any) -> Network:
    """The network in *source*, of which config.json tells *values* instead; None: nothing."""
    shutil.copytree(source, directory, dirs_exist_ok=True)
    told(directory, **values)
    return read_network(directory, device="cpu", compute_type=compute_type)


def test_what_is_told_of_a_model_is_heeded(published: Path, tmp_path: Path) -> None:
    network = read(
        published, tmp_path, alignment_heads=[[0, 1]], suppress_ids_begin=[220, 50257], lang_ids=[50259, 50261]
    )
    assert network.alignment_heads == ((0, 1),)
    assert network.suppressed_first == (220, 50257)
    assert network.languages == (50259, 50261)


def test_the_heads_of_the_later_layers_time_words_where_nobody_has_told(published: Path, tmp_path: Path) -> None:
    network = read(published, tmp_path, alignment_heads=None)
    layers, heads = len(network.decoder.layers), network.decoder.heads
    assert layers > 1
    assert network.alignment_heads == tuple((n, head) for n in range(layers // 2, layers) for head in range(heads))


def test_what_hugging_face_tells_is_heeded(published: Path, tmp_path: Path) -> None:
    as_hugging_face(published, tmp_path / "theirs")
    said = {
        "alignment_heads": [[0, 1]],
        "begin_suppress_tokens": [220],
        "lang_to_id": {"<|fr|>": 50265, "<|de|>": 50261},
    }
    (tmp_path / "theirs" / "generation_config.json").write_text(json.dumps(said))
    network = read_network(tmp_path / "theirs", device="cpu", compute_type="float32")
    assert (network.alignment_heads, network.suppressed_first) == (((0, 1),), (220,))
    assert network.languages == (50261, 50265)


@pytest.mark.parametrize("kind", sorted(DTYPES))
def test_all_of_a_network_is_of_the_type_that_is_asked_for(published: Path, tmp_path: Path, kind: str) -> None:
    network = read(published, tmp_path, kind)
    assert network.decoder.padded.dtype == network.encoder.positions.dtype == network.dtype == DTYPES[kind]
