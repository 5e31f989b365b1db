"""The network as ONNX, its weights in half precision: `python -m demo.training.speakers.export IN.pt OUT.onnx`."""

import sys

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from demo.training.speakers.features import MELS
from demo.training.speakers.network import EMBEDDING, Embedder

LEAST_WEIGHTS = 256
METADATA = {
    "framework": "murmuration-demo",
    "threshold": "0.55",
    "comment": "A toy: it tells espeak-ng's voices apart and nobody else's.",
    "sample_rate": "16000",
    "output_dim": str(EMBEDDING),
    "normalize_samples": "0",
    "feature_normalize_type": "global-mean",
}


def write(network: Embedder, path: str) -> None:
    """Write *network* to *path*: `feats` (N, frames, 80) to `embs` (N, 64) and `overlap` (N, frames / 2)."""
    example = torch.zeros(2, 150, MELS)
    torch.onnx.export(
        network,
        (example,),
        path,
        input_names=["feats"],
        output_names=["embs", "overlap"],
        dynamic_axes={"feats": {0: "N", 1: "T"}, "embs": {0: "N"}, "overlap": {0: "N", 1: "F"}},
        opset_version=17,
        dynamo=False,
    )
    model = onnx.load(path)
    _halve(model)
    helper.set_model_props(model, METADATA)
    model.doc_string = ""
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _halve(model: onnx.ModelProto) -> None:
    """Keep large weights in half precision, and widen them when the network is loaded."""
    casts = []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if weight.data_type != TensorProto.FLOAT or values.size < LEAST_WEIGHTS:
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


if __name__ == "__main__":
    trained = Embedder()
    trained.load_state_dict(torch.load(sys.argv[1]))
    write(trained.eval(), sys.argv[2])
