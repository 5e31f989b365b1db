"""Encodes every window once in a process: that is half of a transcription, and depends on the window alone."""

from typing import Any

import numpy as np

Known = dict[tuple[tuple[int, ...], bytes], Any]


class EncodedOnce:
    """An encoder, or a model that has one, which computes the encoding of the same features once."""

    def __init__(self, encoder: Any, known: Known | None = None) -> None:
        """*known*: what was encoded already, by the features; filled with what is encoded now."""
        self._encoder = encoder
        self._known: Known = {} if known is None else known

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def encode(self, features: Any, **asked: Any) -> Any:
        """What the encoder makes of *features*, shape (n, mels, frames); nobody may write into it."""
        given = np.asarray(features)
        key = given.shape, given.tobytes()
        if key not in self._known:
            self._known[key] = encoded = self._encoder.encode(features, **asked)
            if isinstance(encoded, np.ndarray):
                encoded.flags.writeable = False
        return self._known[key]
