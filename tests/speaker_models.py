"""Small models of the right signature with random weights, for engines that diarize a whole recording."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH = 16
SEGMENTATION_META = {
    "num_speakers": 3,
    "powerset_max_classes": 2,
    "num_classes": 7,
    "sample_rate": 16000,
    "window_size": 160000,
    "receptive_field_size": 991,
    "receptive_field_shift": 270,
}
EMBEDDING_META = {
    "framework": "wespeaker",
    "language": "en",
    "url": "",
    "comment": "random weights",
    "sample_rate": 16000,
    "output_dim": WIDTH,
    "normalize_samples": 0,
    "feature_normalize_type": "global-mean",
}


def sherpa(directory: Path) -> Path:
    """What sherpa-onnx needs: a segmentation that takes loud for one speaker, and an embedding of random directions."""
    directory.mkdir(exist_ok=True)
    _save(directory / "segmentation.onnx", _segmentation(), SEGMENTATION_META)
    _save(directory / "embedding.onnx", _embedding(), EMBEDDING_META)
    return directory


def _segmentation() -> Any:
    """`(N, 1, samples)` to `(N, frames, 7)` scores of nobody, each of three speakers, and each pair."""
    window, step = SEGMENTATION_META["receptive_field_size"], SEGMENTATION_META["receptive_field_shift"]
    loudness = np.zeros((7, 1, window), np.float32)
    loudness[1] = 1 / window
    bias = np.array([0.003, *[0.0] * 1, *[-1.0] * 5], np.float32)
    nodes = [
        helper.make_node("Abs", ["x"], ["abs"]),
        helper.make_node("Conv", ["abs", "w", "b"], ["scores"], strides=[step]),
        helper.make_node("Transpose", ["scores"], ["y"], perm=[0, 2, 1]),
    ]
    return helper.make_graph(
        nodes,
        "segmentation",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, "T"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", "frames", 7])],
        [numpy_helper.from_array(loudness, "w"), numpy_helper.from_array(bias, "b")],
    )


def _embedding() -> Any:
    weights = np.random.default_rng(7).standard_normal((80, WIDTH)).astype(np.float32)
    nodes = [
        helper.make_node("Abs", ["feats"], ["abs"]),
        helper.make_node("ReduceMean", ["abs"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "w"], ["embs"]),
    ]
    return helper.make_graph(
        nodes,
        "embedding",
        [helper.make_tensor_value_info("feats", TensorProto.FLOAT, ["N", "T", 80])],
        [helper.make_tensor_value_info("embs", TensorProto.FLOAT, ["N", WIDTH])],
        [numpy_helper.from_array(weights, "w")],
    )


def _save(path: Path, graph: Any, meta: dict[str, Any]) -> None:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {name: str(value) for name, value in meta.items()})
    onnx.checker.check_model(model)
    onnx.save(model, path)


PIPELINE = """
dependencies:
  pyannote.audio: 4.0.0
pipeline:
  name: pyannote.audio.pipelines.SpeakerDiarization
  params:
    clustering: VBxClustering
    segmentation: $model/segmentation
    segmentation_batch_size: 8
    embedding: $model/embedding
    embedding_batch_size: 8
    embedding_exclude_overlap: true
    plda: $model/plda
params:
  clustering:
    threshold: 0.6
    Fa: 0.07
    Fb: 0.8
  segmentation:
    min_duration_off: 0.0
"""


def pyannote(directory: Path) -> Path:
    """A pipeline of the form of `community-1`: small networks of pyannote.audio's own classes, and its PLDA."""
    import torch
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.embedding import XVectorSincNet
    from pyannote.audio.models.segmentation import PyanNet

    torch.manual_seed(7)
    directory.mkdir(exist_ok=True)
    (directory / "config.yaml").write_text(PIPELINE)
    segmentation = PyanNet(lstm={"hidden_size": 8, "num_layers": 1, "bidirectional": False}, linear={"num_layers": 0})
    segmentation.specifications = Specifications(
        problem=Problem.MONO_LABEL_CLASSIFICATION,
        resolution=Resolution.FRAME,
        duration=10.0,
        classes=["speaker#1", "speaker#2", "speaker#3"],
        powerset_max_classes=2,
        permutation_invariant=True,
    )
    segmentation.build()
    _quiet_is_nobody(segmentation)
    _checkpoint(segmentation, directory / "segmentation")
    embedding = XVectorSincNet(dimension=WIDTH)
    embedding.specifications = Specifications(
        problem=Problem.REPRESENTATION, resolution=Resolution.CHUNK, duration=5.0, classes=[]
    )
    embedding.build()
    _checkpoint(embedding, directory / "embedding")
    rng = np.random.default_rng(7)
    (directory / "plda").mkdir()
    np.savez(
        directory / "plda" / "xvec_transform.npz",
        mean1=np.zeros(WIDTH),
        mean2=np.zeros(8),
        lda=rng.standard_normal((WIDTH, 8)),
    )
    np.savez(directory / "plda" / "plda.npz", mu=np.zeros(8), tr=np.eye(8), psi=np.linspace(4, 1, 8))
    return directory


def _quiet_is_nobody(segmentation: Any) -> None:
    """Set the last layer so that silence is a little more likely to be nobody than anybody."""
    import torch

    heard: list[Any] = []
    hook = segmentation.classifier.register_forward_hook(lambda _, inputs, __: heard.append(inputs[0]))
    segmentation.eval()
    with torch.no_grad():
        segmentation(torch.zeros(1, 1, 160_000))
        hook.remove()
        layer = segmentation.classifier
        layer.weight *= 30
        layer.bias.copy_(-layer.weight @ heard[0][0].mean(0))
        silent = layer(heard[0][0])
        layer.bias[0] += 0.5 + (silent[:, 1:].max(1).values - silent[:, 0]).max()


def _checkpoint(network: Any, directory: Path) -> None:
    import torch

    saved: dict[str, Any] = {
        "state_dict": network.state_dict(),
        "hyper_parameters": dict(network.hparams),
        "pytorch-lightning_version": "2.0.0",
    }
    network.on_save_checkpoint(saved)
    directory.mkdir()
    torch.save(saved, directory / "pytorch_model.bin")
