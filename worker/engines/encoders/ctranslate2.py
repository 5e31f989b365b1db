"""CTranslate2's own encoder: on a GPU, and wherever no other is faster."""

import ctranslate2
import numpy as np
from faster_whisper.transcribe import get_ctranslate2_storage

from worker.engines.row import Floats


class CTranslate2Encoder:
    """The encoder of a model that CTranslate2 (or what has its methods) holds whole."""

    def __init__(self, model: ctranslate2.models.Whisper) -> None:
        self.label = f"CTranslate2 {model.compute_type}"
        self._model = model

    def encode(self, features: Floats) -> Floats:
        """
        Encode windows: see `worker.engines.encoders.base.Encoder`.

        Encodings come to the host, where every row is free to join any batch; a row's way back to a GPU is a few
        megabytes.
        """
        encoded = self._model.encode(get_ctranslate2_storage(features), to_cpu=True)
        if encoded.dtype == ctranslate2.DataType.bfloat16:  # numpy has no such type
            encoded = encoded.to(ctranslate2.DataType.float32)
        return np.array(encoded)
