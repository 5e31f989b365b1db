"""A speaker-embedding network in ONNX: sounds in, unit vectors out."""

from collections.abc import Sequence

import numpy as np
import onnxruntime

from transcription.errors import EngineFailed, ModelUnavailable
from transcription.media.audio import Samples
from worker.diarizers.clustering import Vectors
from worker.diarizers.networks.inputs import feed_of

OVERLAP = "overlap"
"""The output of the logits of two speaking at once, where a network has it."""

_EMBEDDINGS = ("embs", "embedding", "embeddings", "emb")


class SpeakerNetwork:
    """
    Turns sounds into vectors that say whose voice they are.

    ``threshold`` is what its metadata says of the cosine distance of two speakers, None where they don't.
    """

    def __init__(self, content: bytes, *, named: str) -> None:
        """
        Load a network; *named* is what messages call it.

        Raises:
            ModelUnavailable: it isn't one that can be fed here.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common base
            raise ModelUnavailable(f"the speaker network {named} can't be loaded: {str(error)[:300]}") from error
        self._feed = feed_of(self._session, named=named)
        names = [str(found.name) for found in self._session.get_outputs()]
        # NeMo's networks have the logits of their training's speakers first.
        self._output = next((name for name in names if name in _EMBEDDINGS), names[0])
        self._overlap = OVERLAP if OVERLAP in names else None
        meta = self._session.get_modelmeta().custom_metadata_map
        self.threshold = float(meta["threshold"]) if "threshold" in meta else None

    def __call__(self, parts: Sequence[Samples]) -> tuple[Vectors, Vectors | None]:
        """
        Hear sounds of one length, 16 kHz, full scale 1.

        Returns:
            Unit vectors, shape (sounds, width); and, where the network has them, the logits of two speaking at once,
            (sounds, frames).

        Raises:
            EngineFailed: the network raised an error, or gave something that is no vector.
        """
        wanted = [self._output, *([self._overlap] if self._overlap else [])]
        try:
            found = self._session.run(wanted, self._feed(parts))
        except Exception as error:  # onnxruntime's errors have no common base
            raise EngineFailed(f"the speaker network failed: {str(error)[:300]}") from error
        vectors = np.asarray(found[0], np.float32).reshape(len(parts), -1)
        if not np.isfinite(vectors).all():
            raise EngineFailed("the speaker network gave a vector with numbers that are none")
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        return vectors, np.asarray(found[1], np.float32) if self._overlap else None
