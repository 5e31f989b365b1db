"""Reading CTranslate2's weights, held to the weights that its own converter was given."""

import struct
from pathlib import Path

import numpy as np
import pytest

from demo.ct2 import write_ct2
from demo.weights import read_weights
from transcription.errors import ModelUnavailable
from worker.engines.model_bin import ModelBin

TOLERANCE = {"int8": 0.005, "int16": 0.001, "float16": 0.001, "float32": 0.0}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("model")
    write_ct2(read_weights(), directory)
    return directory / "model.bin"


def test_every_weight_is_what_the_converter_was_given_within_its_rounding(stored: Path) -> None:
    model, arrays = ModelBin(stored), read_weights().arrays
    for name, original in {
        "encoder/conv1/weight": arrays["conv1.weight"],
        "encoder/position_encodings/encodings": arrays["audio_positions"],
        "encoder/layer_0/ffn/linear_0/weight": arrays["eblocks.0.mlp.0.weight"],
        "decoder/layer_0/attention/linear_0/weight": arrays["dblocks.0.cross_attn.query.weight"],
        "decoder/projection/weight": arrays["token_embedding"],
    }.items():
        found = model.floats(name)
        assert found.shape == original.shape
        assert np.abs(found - original).max() <= 0.01 * np.abs(original).max()


@pytest.mark.parametrize("kind", TOLERANCE)
def test_every_type_of_number_that_models_are_published_in_is_read(tmp_path: Path, kind: str) -> None:
    write_ct2(read_weights(), tmp_path, quantization=None if kind == "float32" else kind)
    values = read_weights().arrays["eblocks.0.mlp.0.weight"]
    found = ModelBin(tmp_path / "model.bin").floats("encoder/layer_0/ffn/linear_0/weight")
    assert np.abs(found - values).max() <= TOLERANCE[kind] * np.abs(values).max()


def test_bfloat16_is_the_upper_half_of_float32(tmp_path: Path) -> None:
    values = np.array([1.0, -2.5, 0.15625], np.float32)
    name = struct.pack("<H2sBIBI", 2, b"w\0", 1, 3, 5, 6)
    head = struct.pack("<IH2sII", 6, 2, b"X\0", 1, 1)
    (tmp_path / "model.bin").write_bytes(
        head + name + (values.view(np.uint32) >> 16).astype(np.uint16).tobytes() + struct.pack("<I", 0)
    )
    assert ModelBin(tmp_path / "model.bin").floats("w").tolist() == values.tolist()


@pytest.mark.parametrize("damage", ["cut", "end", "empty", "text", "version"])
def test_a_file_that_is_no_whole_model_is_refused_with_its_name(tmp_path: Path, stored: Path, damage: str) -> None:
    whole = stored.read_bytes()
    broken = tmp_path / "model.bin"
    broken.write_bytes(
        {
            "cut": whole[: len(whole) // 2],
            "end": whole[:-3],
            "empty": b"",
            "text": b"no model",
            "version": struct.pack("<I", 99) + whole[4:],
        }[damage]
    )
    with pytest.raises(ModelUnavailable, match=str(broken)):
        ModelBin(broken)


def test_a_name_for_another_weight_is_read_and_stays_where_that_one_is_left_out(stored: Path, tmp_path: Path) -> None:
    model, alias = ModelBin(stored), "decoder/projection/weight"
    assert alias not in model.names()
    assert alias in model
    for keep in (lambda name: name == alias or name.startswith(f"{alias}_"), lambda _: True):
        with (tmp_path / "part.bin").open("wb") as file:
            model.write_subset(file, keep)
        part = ModelBin(tmp_path / "part.bin")
        assert alias in part
        assert part.raw(alias).tobytes() == model.raw(alias).tobytes()


def test_a_model_of_another_kind_is_told_by_the_name_that_it_lacks(stored: Path) -> None:
    with pytest.raises(ModelUnavailable, match="'encoder/conv9/weight'"):
        ModelBin(stored).floats("encoder/conv9/weight")
