"""What an encoder does for the stages of a window."""

from typing import Protocol

from worker.engines.row import Floats


class Encoder(Protocol):
    """Whisper's encoder in some library. Threads may call it at the same time."""

    label: str
    """Library and arithmetic, for people: `OpenVINO int8`."""

    def encode(self, features: Floats) -> Floats:
        """
        Encode windows.

        Args:
            features: Log-mel features, shape (n, mels, frames), float32; frames is even.

        Returns:
            Encodings, shape (n, frames / 2, width), in a type that CTranslate2's decoder takes.

        Raises:
            RuntimeError: the library failed.
        """
        ...
