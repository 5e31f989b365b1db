"""faster-whisper as an engine: CTranslate2 on a CPU or a CUDA GPU."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TypeVar, cast

from faster_whisper import WhisperModel
from faster_whisper.feature_extractor import FeatureExtractor
from faster_whisper.tokenizer import Tokenizer

from transcription.errors import EngineFailed, ModelUnavailable
from transcription.media.audio import Samples
from transcription.models import require_english
from transcription.observability.cores import available
from transcription.options import Decoding, Task
from transcription.settings import Settings
from transcription.spans import Span
from transcription.transcript import Segment
from worker.audio.windows import Window
from worker.batcher import Batcher, ModelCall
from worker.engines.cpu_layout import CpuLayout, instruction_set, layout
from worker.engines.encoders.base import Encoder
from worker.engines.encoders.selection import select
from worker.engines.gpu import arithmetic, batch_of, reason, row_bytes_of
from worker.engines.in_order import in_order, wait
from worker.engines.languages import among, following, most_probable
from worker.engines.model_bin import ModelBin
from worker.engines.row import FRAMES, Context, Floats, LanguageRow, Row, own_length
from worker.engines.stages import Stages, encode_key
from worker.engines.text import TextTokenizer
from worker.metrics import counters

NAME = "faster_whisper"
CAPACITY = 64
FORCED_INSTRUCTIONS = "CT2_FORCE_CPU_ISA"

AnyRow = TypeVar("AnyRow", Row, LanguageRow)


def _never() -> bool:
    return False


class FasterWhisper:
    """One model with its batcher. See `worker.engines.base.Engine` for what its methods promise."""

    def __init__(
        self,
        name: str,
        whisper: WhisperModel,
        plan: CpuLayout,
        *,
        row_bytes: int = 0,
        encoder: Encoder | None = None,
        stages: Callable[..., Stages] = Stages,
    ) -> None:
        """
        Take *whisper* into service.

        Args:
            name: What results call the model.
            plan: Replicas that *whisper* was loaded with, and windows to decode together.
            row_bytes: Memory of one window, to go by where *plan* leaves the batch open.
            encoder: Encodes in place of *whisper*; None: *whisper* does.
            stages: What computes them.
        """
        self.name = name
        self.device: str = whisper.model.device
        self.compute_type: str = whisper.model.compute_type
        batch = plan.batch or batch_of(row_bytes, replicas=plan.workers)
        encode_batch = 1 if self.device == "cpu" else batch
        executor = stages(whisper, encode_batch=encode_batch, decode_batch=batch, encoder=encoder)
        self.encoder = executor.encoder.label
        self._any_length = executor.any_length
        self._whisper = whisper
        self._ahead = batch * plan.workers + 1
        capacity = max(CAPACITY, 2 * batch * plan.workers)
        self._batcher: Batcher[Row | LanguageRow] = Batcher(executor, workers=plan.workers, capacity=capacity)
        self._tokenizer = lru_cache(maxsize=256)(self._new_tokenizer)

    @property
    def steps(self) -> int:
        """Batches that have been computed."""
        return self._batcher.steps

    def progress(self, owner: str) -> int | None:
        """How far the windows of *owner* are that are being computed: see Engine."""
        return self._batcher.progress(owner)

    def calls(self) -> tuple[ModelCall, ...]:
        """The calls into the model that haven't come back yet: see Engine."""
        return self._batcher.calls()

    def detect_language(
        self,
        window: Samples,
        *,
        owner: str = "language",
        cancelled: Callable[[], bool] = _never,
        fast_short: bool = False,
        languages: Sequence[str] = (),
    ) -> tuple[str, float]:
        """Find the language; the encoding is kept for the transcription of the same window."""
        if not self._whisper.model.is_multilingual:
            require_english(self.name, languages=languages)
            return "en", 1.0
        row = self._language_row(window, short=fast_short)
        done = wait(self._submit(row, owner=owner, cancelled=cancelled), cancelled)
        return most_probable(among(_found(done), languages))

    def transcribe(
        self,
        windows: Iterable[Window],
        decoding: Decoding,
        *,
        language: str,
        owner: str,
        cancelled: Callable[[], bool],
        skipped: Callable[[Span], None] = lambda _: None,
        told: Callable[[str], None] = lambda _: None,
    ) -> Iterator[list[Segment]]:
        """Yield each window's segments. Windows are prepared a few ahead in the caller's thread."""
        if not self._whisper.model.is_multilingual:
            require_english(self.name, task=decoding.task, language=language, languages=decoding.languages)
        tokenizer = self._tokenizer(decoding.task, language)
        prompt = tokenizer.encode(" " + decoding.prompt.strip()) if decoding.prompt else []
        context = Context(prompt, grows=decoding.condition_on_previous_text)
        ahead = 1 if decoding.condition_on_previous_text else self._ahead
        if decoding.multilingual and self._whisper.model.is_multilingual:
            asked = self._asked(windows, short=decoding.fast_short)
            given = ((window, self._submit(row, owner=owner, cancelled=cancelled)) for window, row in asked)
            found = in_order(given, ahead=ahead, cancelled=cancelled)
            rows = self._rows_by_language(found, decoding, context, language=language)
        else:
            rows = ((window, self._row(window, tokenizer, decoding, context)) for window in windows)
        handed_in = ((window, self._submit(row, owner=owner, cancelled=cancelled)) for window, row in rows)
        with closing(in_order(handed_in, ahead=ahead, cancelled=cancelled)) as done:
            for window, row in done:
                for part in row.skipped:
                    skipped(window.placed(part))
                if row.language is not None:
                    told(row.language)
                yield [replace(segment, language=row.language) for segment in window.restore(row.segments)]

    def close(self) -> None:
        """Stop the batcher and unload the model."""
        self._batcher.close()
        self._whisper.model.unload_model()

    def _row(self, window: Window, tokenizer: Tokenizer, decoding: Decoding, context: Context) -> Row:
        features = self._features(window.samples)
        return Row(
            features=features,
            frames=features.shape[-1] - 1,
            heard=self._heard(features, short=decoding.fast_short),
            tokenizer=tokenizer,
            decoding=decoding,
            context=context,
            digest=_digest(window.samples),
        )

    def _asked(self, windows: Iterable[Window], *, short: bool) -> Iterator[tuple[Window, LanguageRow]]:
        """Rows that ask each window's language."""
        for window in windows:
            row = self._language_row(window.samples, short=short)
            row.handed_on = True
            yield window, row

    def _language_row(self, samples: Samples, *, short: bool) -> LanguageRow:
        features = self._features(samples)
        return LanguageRow(features, _digest(samples), heard=self._heard(features, short=short))

    def _rows_by_language(
        self, asked: Iterable[tuple[Window, LanguageRow]], decoding: Decoding, context: Context, *, language: str
    ) -> Iterator[tuple[Window, Row]]:
        """Each window's row in the language that was told, and with the encoding from which that was told."""
        for window, heard in asked:
            before = language
            language = following(before, among(_found(heard), decoding.languages))
            if language != before:
                context.forget()
            yield (
                window,
                Row(
                    features=heard.features,
                    frames=heard.features.shape[-1] - 1,
                    heard=heard.heard,
                    tokenizer=self._tokenizer(decoding.task, language),
                    decoding=decoding,
                    context=context,
                    digest=heard.digest,
                    encoding=heard.encoding,
                    language=language,
                ),
            )

    def _features(self, samples: Samples) -> Floats:
        with counters.stage("mel"):
            features: Floats = self._whisper.feature_extractor(samples)
        return features

    def _heard(self, features: Floats, *, short: bool) -> int:
        return own_length(features.shape[-1] - 1) if short and self._any_length else FRAMES

    def _submit(self, row: AnyRow, *, owner: str, cancelled: Callable[[], bool]) -> "Future[AnyRow]":
        # A row comes back as what it went in.
        return cast("Future[AnyRow]", self._batcher.submit(row, encode_key(row), owner=owner, cancelled=cancelled))

    def _new_tokenizer(self, task: Task, language: str) -> Tokenizer:
        return TextTokenizer(
            self._whisper.hf_tokenizer, self._whisper.model.is_multilingual, task=task.value, language=language
        )


def _found(row: LanguageRow) -> dict[str, float]:
    if not row.found:
        raise EngineFailed("the model told no language of a window that holds speech")
    return row.found


def _digest(samples: Samples) -> bytes:
    return hashlib.blake2b(samples.data, digest_size=16).digest()


def describe(plan: CpuLayout, device: str) -> str:
    """How a model is laid out on *device*, in a few words."""
    description = f"{plan.workers} × {plan.threads} model threads, batches of {plan.batch or 'what fits'}"
    instructions = os.environ.get(FORCED_INSTRUCTIONS) or instruction_set()
    return f"{description}, {instructions}" if instructions and device == "cpu" else description


def load(name: str, directory: Path, settings: Settings) -> FasterWhisper:
    """
    Load the model in *directory*.

    Args:
        name: What results call it.
        directory: A CTranslate2 Whisper model with its `tokenizer.json`.
        settings: Device, arithmetic and layout.

    Raises:
        ModelUnavailable: the directory holds no such model, or this machine can't compute it that way.
    """
    for file in ("model.bin", "tokenizer.json"):  # without its tokenizer faster-whisper would ask the hub for one
        if not (directory / file).is_file():
            raise ModelUnavailable(f"{directory} is no CTranslate2 Whisper model: it has no {file}")
    device, compute_type = arithmetic(settings, cublas=True)
    plan = layout(settings.worker, device=device, cores=available(sharers=settings.worker.host_workers))
    if instructions := instruction_set():
        os.environ.setdefault(FORCED_INSTRUCTIONS, instructions)
    chosen = select(directory, settings, plan, device=device)
    try:
        whisper = WhisperModel(
            str(chosen.directory),
            device=device,
            compute_type=compute_type,
            cpu_threads=plan.threads,
            num_workers=plan.workers + (device == "cpu"),  # one more for light rows: see the batcher
            local_files_only=True,
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise ModelUnavailable(f"model {name!r} {reason(error, directory, device)}") from error
    mels = whisper.model.n_mels
    if whisper.feature_extractor.mel_filters.shape[0] != mels:  # no preprocessor_config.json beside the weights
        whisper.feature_extractor = FeatureExtractor(feature_size=mels)
    row_bytes = 0 if plan.batch else row_bytes_of(ModelBin(directory / "model.bin"), whisper.model.compute_type)
    engine = FasterWhisper(name, whisper, plan, row_bytes=row_bytes, encoder=chosen.encoder)
    engine.encoder = f"{engine.encoder} ({chosen.reason})"
    return engine
