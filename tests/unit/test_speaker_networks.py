"""Every form of speaker-embedding network that is published in ONNX: small ones of its signature, random weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from demo import DIALOGUE
from tests import sound
from transcription.errors import EngineFailed, ModelUnavailable
from transcription.media.audio import Samples
from transcription.spans import Span
from worker.diarizers.embedding import EmbeddingDiarizer
from worker.diarizers.networks.fbank import Window, fbank
from worker.diarizers.networks.nemo import log_mel
from worker.diarizers.networks.network import SpeakerNetwork

onnx = pytest.importorskip("onnx", reason="onnx isn't installed")
TensorProto, helper, numpy_helper = onnx.TensorProto, onnx.helper, onnx.numpy_helper

Shape = Sequence[int | str]
WIDTH = 16
WEIGHTS = np.random.default_rng(7).standard_normal((80, WIDTH)).astype(np.float32)
SENTENCE = Span(DIALOGUE.segments[1].start, DIALOGUE.segments[1].end)


def network(
    inputs: dict[str, Shape],
    nodes: list[Any],
    outputs: dict[str, Shape],
    meta: dict[str, str] | None = None,
    *,
    constants: dict[str, NDArray[Any]] | None = None,
    integers: str = "",
) -> bytes:
    kinds = {name: TensorProto.INT64 if name == integers else TensorProto.FLOAT for name in inputs}
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info(name, kinds[name], list(shape)) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in {"w": WEIGHTS, **(constants or {})}.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, meta or {})
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def pooled(name: str, output: str, *, axis: int) -> list[Any]:
    """|x| averaged over frames, times the weights."""
    return [
        helper.make_node("Abs", [name], ["abs"]),
        helper.make_node("ReduceMean", ["abs"], ["mean"], axes=[axis], keepdims=0),
        helper.make_node("MatMul", ["mean", "w"], [output]),
    ]


def kaldi(name: str, output: str, **meta: str) -> bytes:
    return network({name: ("N", "T", 80)}, pooled(name, output, axis=1), {output: ("N", WIDTH)}, meta)


def nemo() -> bytes:
    """Two inputs, of which the length divides; the first output is the training's classes."""
    nodes = [
        helper.make_node("Abs", ["audio_signal"], ["abs"]),
        helper.make_node("ReduceSum", ["abs", "last"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["length"], ["frames"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["frames", "last1"], ["each"]),
        helper.make_node("Div", ["sum", "each"], ["mean"]),
        helper.make_node("MatMul", ["mean", "w"], ["embs"]),
        helper.make_node("MatMul", ["mean", "classes"], ["logits"]),
    ]
    constants = {"last": np.array([2]), "last1": np.array([1]), "classes": np.ones((80, 5), np.float32)}
    meta = {"framework": "nemo", "sample_rate": "16000", "feature_normalize_type": "per_feature", "window_type": "hann"}
    inputs: dict[str, Shape] = {"audio_signal": ("N", 80, "T"), "length": ("N",)}
    outputs: dict[str, Shape] = {"logits": ("N", 5), "embs": ("N", WIDTH)}
    return network(inputs, nodes, outputs, meta, constants=constants, integers="length")


def raw(shape: Shape) -> bytes:
    """The sound itself, in blocks of 80 samples."""
    nodes = [helper.make_node("Reshape", ["wave", "blocks"], ["cut"]), *pooled("cut", "embedding", axis=1)]
    return network({"wave": shape}, nodes, {"embedding": ("N", WIDTH)}, constants={"blocks": np.array([0, -1, 80])})


def unit(mean: NDArray[Any]) -> NDArray[np.float32]:
    vector = mean.astype(np.float32) @ WEIGHTS
    return vector / np.linalg.norm(vector)


def of_kaldi(part: Samples, window: Window, scale: float = 32768.0) -> NDArray[np.float32]:
    features = fbank(part * np.float32(scale), window=window)
    return unit(np.abs(features - features.mean(0)).mean(0))


@pytest.fixture(scope="module")
def part() -> Samples:
    return sound.decoded(DIALOGUE.path, limit_s=100).cut(SENTENCE)[:24_000]


FORMS = {
    "WeSpeaker's own export": (kaldi("feats", "embs"), lambda x: of_kaldi(x, Window.HAMMING)),
    "WeSpeaker's with sherpa-onnx's metadata": (
        kaldi("x", "embs", framework="wespeaker", normalize_samples="0", sample_rate="16000"),
        lambda x: of_kaldi(x, Window.HAMMING),
    ),
    "3D-Speaker's own export": (kaldi("feature", "embedding"), lambda x: of_kaldi(x, Window.POVEY)),
    "3D-Speaker's with sherpa-onnx's metadata": (
        kaldi("x", "embedding", framework="3d-speaker", normalize_samples="1", feature_normalize_type="global-mean"),
        lambda x: of_kaldi(x, Window.POVEY, 1.0),
    ),
    "NeMo's": (nemo(), lambda x: unit(np.abs(log_mel(x)).mean(1))),
    "sound": (raw(("N", "samples")), lambda x: unit(np.abs(x.reshape(-1, 80)).mean(0))),
    "sound of one channel": (raw(("N", 1, "samples")), lambda x: unit(np.abs(x.reshape(-1, 80)).mean(0))),
}


@pytest.mark.parametrize("form", FORMS)
def test_network_is_fed_as_its_framework_feeds_it(form: str, part: Samples) -> None:
    content, expected = FORMS[form]
    vectors, overlap = SpeakerNetwork(content, named=form)([part, part[::-1].copy()])
    assert overlap is None
    assert vectors.shape == (2, WIDTH)
    assert vectors[0] == pytest.approx(expected(part), abs=2e-4)
    assert vectors[1] == pytest.approx(expected(part[::-1].copy()), abs=2e-4)


@pytest.mark.parametrize("form", FORMS)
def test_whole_recording_is_diarized_by_each_form(form: str, tmp_path: Path) -> None:
    (tmp_path / "voices.onnx").write_bytes(FORMS[form][0])
    diarizer = EmbeddingDiarizer(tmp_path / "voices.onnx")
    recording = sound.decoded(DIALOGUE.path, limit_s=100)
    speech = [Span(segment.start, segment.end) for segment in DIALOGUE.segments]
    heard = diarizer.hear(speech, recording)
    assert heard.vectors.shape == (len(heard.windows), WIDTH)
    assert np.linalg.norm(heard.vectors, axis=1) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("inputs", "meta", "why"),
    [
        ({"x": ("N", "T", 40)}, {}, r"takes x \[None, None, 40\]"),
        ({"x": ("N", "T", 80)}, {"sample_rate": "8000"}, "8000 Hz"),
        ({"x": ("N", "T", 80), "y": ("N", "T")}, {}, "takes x"),
        ({"x": ("N",)}, {}, "takes x"),
    ],
)
def test_network_that_cannot_be_fed_says_what_it_takes(
    inputs: dict[str, Shape], meta: dict[str, str], why: str
) -> None:
    content = network(inputs, [helper.make_node("Abs", ["x"], ["embs"])], {"embs": inputs["x"]}, meta)
    with pytest.raises(ModelUnavailable, match=why):
        SpeakerNetwork(content, named="odd.onnx")


def test_network_that_gives_no_numbers_fails_the_span_and_not_the_recording(part: Samples) -> None:
    nodes = [helper.make_node("Sub", ["wave", "wave"], ["zero"]), helper.make_node("Log", ["zero"], ["embs"])]
    content = network({"wave": ("N", "samples")}, nodes, {"embs": ("N", "samples")})
    with pytest.raises(EngineFailed, match="numbers that are none"):
        SpeakerNetwork(content, named="broken")([part])


def test_nemo_s_features_have_mean_0_and_deviation_1_in_each_band(part: Samples) -> None:
    features = log_mel(part)
    assert features.shape == (80, 1 + 24_000 // 160)
    assert features.mean(1) == pytest.approx(0, abs=1e-4)
    assert features.std(1, ddof=1) == pytest.approx(1, abs=1e-3)


def test_one_frame_has_no_deviation_and_no_error() -> None:
    assert np.isfinite(log_mel(np.ones(1, np.float32))).all()
