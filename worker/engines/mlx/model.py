"""A Whisper model in MLX with the methods of CTranslate2's, so that all that is built on those works on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from transcription.settings import Mlx
from worker.engines.alignment import Alignment
from worker.engines.marks import marks_of
from worker.engines.mlx.align import align
from worker.engines.mlx.search import Written, write
from worker.engines.mlx.thread import owner
from worker.engines.mlx.weights import read_network, read_tokenizer
from worker.engines.row import Floats


@dataclass(frozen=True, slots=True)
class Generated:
    """What a window's decoding came to, named as in CTranslate2."""

    sequences_ids: list[list[int]]
    scores: list[float]
    no_speech_prob: float


class MlxModel:
    """
    See `ctranslate2.models.Whisper` for what its methods promise. Threads may share it: all work is MLX's thread's.

    Two things differ. ``beam_size`` isn't heeded: like mlx-whisper it always takes the most probable token. Above
    temperature 0 it draws one text, not the best of five.
    """

    def __init__(self, directory: Path, *, device: str, compute_type: str, limits: Mlx) -> None:
        """
        Read the model.

        Raises:
            KeyError, OSError, RuntimeError, TypeError, ValueError: *directory* holds no such model.
        """
        self.device, self.compute_type = device, compute_type
        self._owner = owner()
        self._network: Any = self._owner.call(_load, directory, device, compute_type, limits)
        dims = self._network.dims
        self.n_mels, self.is_multilingual = int(dims.n_mels), int(dims.n_vocab) >= 51865
        self.hf_tokenizer = read_tokenizer(directory, dims.n_vocab)
        self._marks = marks_of(self.hf_tokenizer, dims.n_vocab)

    def encode(self, features: Any, *, to_cpu: bool = True) -> Floats:  # noqa: ARG002
        """Encode log-mel windows, shape (rows, mels, 3000); shape (rows, 1500, width), in the host's memory."""
        return self._owner.call(self._encode, np.array(features))

    def detect_language(self, encoded: Any) -> list[list[tuple[str, float]]]:
        """Each row's languages, as («<|en|>», probability), the most probable first."""
        found = self._owner.call(self._detect_language, np.array(encoded))
        names = [str(self.hf_tokenizer.id_to_token(token)) for token in self._languages]
        return [sorted(zip(names, row, strict=True), key=lambda pair: -pair[1]) for row in found.tolist()]

    def generate(
        self,
        encoded: Any,
        prompts: Sequence[Sequence[int]],
        *,
        max_length: int,
        suppress_tokens: Sequence[int],
        max_initial_timestamp_index: int,
        sampling_temperature: float = 0.0,
        **_: Any,
    ) -> list[Generated]:
        """Write the text of every row. The prompts are of one length."""
        written: list[Written] = self._owner.call(
            self._write,
            np.array(encoded),
            prompts,
            temperature=sampling_temperature,
            suppressed=tuple(suppress_tokens),
            latest_first=max_initial_timestamp_index,
            limit=min(max_length // 2, max_length - len(prompts[0])),
        )
        return [Generated([row.tokens], [row.logprob / max(1, len(row.tokens))], row.no_speech) for row in written]

    def align(
        self, encoded: Any, start_sequence: Sequence[int], text_tokens: Sequence[list[int]], num_frames: Sequence[int]
    ) -> list[Alignment]:
        """When the tokens of every row were said."""
        return self._owner.call(self._align, np.array(encoded), start_sequence, text_tokens, num_frames)

    def unload_model(self) -> None:
        """Give the memory back to the system."""
        self._owner.call(self._unload)

    @property
    def _languages(self) -> range:
        return range(self._marks.start + 1, self.hf_tokenizer.token_to_id("<|translate|>") or 0)

    def _sound(self, encoded: Floats) -> mx.array:
        return mx.array(encoded).astype(self._network.encoder.conv1.weight.dtype)

    def _encode(self, features: Floats) -> Floats:
        return np.array(self._network.encoder(self._sound(features.transpose(0, 2, 1))).astype(mx.float32))

    def _detect_language(self, encoded: Floats) -> Floats:
        logits = self._network.logits(mx.array([[self._marks.start]] * len(encoded)), self._sound(encoded))
        ours = logits[:, 0, self._languages.start : self._languages.stop].astype(mx.float32)
        return np.array(mx.softmax(ours, axis=-1))

    def _write(self, encoded: Floats, prompts: Sequence[Sequence[int]], **how: Any) -> list[Written]:
        return write(self._network.decoder, self._marks, self._sound(encoded), prompts, **how)

    def _align(
        self, encoded: Floats, start: Sequence[int], texts: Sequence[list[int]], frames: Sequence[int]
    ) -> list[Alignment]:
        return align(self._network, self._marks, self._sound(encoded), start, texts=texts, frames=frames)

    def _unload(self) -> None:
        self._network = None
        mx.clear_cache()


def _load(directory: Path, device: str, compute_type: str, limits: Mlx) -> Any:
    mx.set_default_device(mx.gpu if device == "metal" else mx.cpu)
    mx.set_cache_limit(limits.cache_bytes)
    if limits.memory_bytes:
        mx.set_memory_limit(limits.memory_bytes)
    return read_network(directory, compute_type)
