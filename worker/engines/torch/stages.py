"""The stages of a window on torch: those of faster-whisper, but encodings stay on the device and rows mix freely."""

from collections.abc import Sequence
from typing import Any

from transcription.options import Decoding, Segmentation
from worker.batcher import Key
from worker.engines.encoders.base import Encoder
from worker.engines.encoders.kept import REMEMBERED
from worker.engines.passes import text_tokens
from worker.engines.row import LanguageRow, Row
from worker.engines.stages import BEST_OF, Stage, Stages
from worker.engines.torch.asked import Asked


class OnDevice:
    """The encoder in torch. What it makes stays on the device, and it takes sounds, not arrays: see `_encoded`."""

    label = "torch"

    def __init__(self, model: Any) -> None:
        """Encode with *model*."""
        self.encode = model.encode


class TorchStages(Stages):
    """The batcher's executor over one `TorchModel`."""

    def __init__(
        self,
        whisper: Any,
        *,
        encode_batch: int,
        decode_batch: int,
        encoder: Encoder | None = None,
        kept: int = REMEMBERED,
    ) -> None:
        """Take rows as many as the device works on at once; never split: it isn't the batch that fills it."""
        super().__init__(
            whisper,
            encode_batch=encode_batch,
            decode_batch=decode_batch,
            encoder=encoder or OnDevice(whisper.model),
            kept=kept,
        )
        self.splits = False
        self.timed_by_default = True
        self.any_length = False  # graphs and caches are of one length

    def _is_timed(self, decoding: Decoding) -> bool:
        """On a GPU words that are aligned anyway save a fifth of the steps; timestamps cost nothing beside that."""
        if decoding.segmentation is Segmentation.AUTO and self._whisper.model.device == "cuda":
            return not decoding.word_timestamps or decoding.condition_on_previous_text
        return super()._is_timed(decoding)

    def _encoded(self, rows: Sequence[Row | LanguageRow]) -> list[Any]:
        passes = []
        for row in rows:
            sound: Any = row.features
            passes.append((sound, 0 if isinstance(row, LanguageRow) else row.seek))
        return self._whisper.model.encode(passes)  # type: ignore[no-any-return]

    def _lost(self) -> bool:
        """Whether the process, or the GPU for it, computes nothing more; asked twice as elsewhere."""
        return not any(self._whisper.model.works() for _ in range(2))

    def _together(self, rows: Sequence[Row] | Sequence[LanguageRow]) -> Any:
        return [row.encoding for row in rows]

    def _decode_key(self, row: Row) -> Key:  # noqa: ARG002  whatever they ask, they go together
        return Key(Stage.DECODE)

    def _written(self, rows: Sequence[Row]) -> Sequence[Any]:
        return self._whisper.model.generate(  # type: ignore[no-any-return]
            self._together(rows), [self._asked(row) for row in rows]
        )

    def _asked(self, row: Row) -> Asked:
        before = len(row.prompt) - 1
        longest = self._whisper.max_length
        return Asked(
            prompt=tuple(row.prompt),
            start=self._whisper.model.start_of(row.prompt),
            width=BEST_OF if row.temperature > 0 else row.decoding.beam_size,
            temperature=row.temperature,
            timed=row.timed,
            limit=min(longest // 2, longest - before),
        )

    def _aligned(self, rows: Sequence[Row]) -> Sequence[Any]:
        return self._whisper.model.align(  # type: ignore[no-any-return]
            self._together(rows),
            [row.tokenizer.sot_sequence for row in rows],
            [text_tokens(row) for row in rows],
            [row.size for row in rows],
        )
