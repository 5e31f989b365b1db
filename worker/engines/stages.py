"""The stages of a window in faster-whisper's model: encode, tell the language, decode, align the words."""

from collections.abc import Sequence
from dataclasses import replace
from enum import IntEnum
from typing import Any

import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.audio import pad_or_trim
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_ctranslate2_storage, get_suppressed_tokens

from transcription.errors import EngineFailed
from transcription.options import Decoding, Segmentation
from worker.batcher import DeviceLost, Key, OutOfMemory
from worker.engines import gpu, passes
from worker.engines.alignment import words_of
from worker.engines.encoders.base import Encoder
from worker.engines.encoders.ctranslate2 import CTranslate2Encoder
from worker.engines.encoders.kept import REMEMBERED, Encodings
from worker.engines.marks import LATEST_FIRST_TIMESTAMP
from worker.engines.row import FRAMES, Attempt, Floats, LanguageRow, Row, best, untouched_on_error
from worker.engines.segmentation import pieces_of_words

BEST_OF = 5
LEAST_REST = 20
"""Frames that are worth another pass: in 0.2 s nobody says anything, but the model may make something up."""

MAX_PASSES = 32
"""Passes over one window, after which its rest is left out: 30 s of speech take a few."""

PREPENDED = "\"'“¿([{-"
APPENDED = "\"'.。,，!！?？:：”)]}、"


class Stage(IntEnum):
    """How far a row is. Rows of a later stage go first."""

    ENCODE = 0
    LANGUAGE = 1
    DECODE = 2
    ALIGN = 3


def encode_key(row: Row | LanguageRow) -> Key:
    """Rows are encoded together that are heard in one length."""
    return Key(Stage.ENCODE, (row.heard,))


class Stages:
    """The batcher's executor over one `WhisperModel`: what its sequential path does, on many windows at once."""

    def __init__(
        self,
        whisper: WhisperModel,
        *,
        encode_batch: int,
        decode_batch: int,
        encoder: Encoder | None = None,
        kept: int = REMEMBERED,
    ) -> None:
        """*encoder*: computes the encodings, None: *whisper* does; *kept*: those that languages were told from."""
        self.encoder: Encoder = encoder or CTranslate2Encoder(whisper.model)
        self.splits = whisper.model.device == "cpu"
        self.timed_by_default = whisper.model.device != "cuda"
        self.any_length = True
        """Whether a window may be heard in its own length."""

        self._whisper = whisper
        self._limits = {Stage.ENCODE: encode_batch}
        self._decode_batch = decode_batch
        self._encodings = Encodings(kept)

    def limit(self, stage: int) -> int:
        """Rows to compute together."""
        return self._limits.get(Stage(stage), self._decode_batch)

    def compute(self, key: Key, rows: Sequence[Row | LanguageRow]) -> Sequence[Key | None]:
        """Take *rows* one stage further. EngineFailed, OutOfMemory, DeviceLost."""
        compute: Any = (self._encode, self._detect_language, self._decode, self._align)[key.stage]
        try:
            with untouched_on_error(rows):
                return compute(rows)  # type: ignore[no-any-return]
        except (RuntimeError, ValueError, IndexError) as error:
            if "out of memory" in str(error).lower():
                raise OutOfMemory(f"{len(rows)} windows are too many for the device's memory: {error}") from error
            failed = DeviceLost if self._lost() else EngineFailed
            raise failed(f"the model failed while it was to {Stage(key.stage).name.lower()}: {error}") from error

    def _lost(self) -> bool:
        """Whether the GPU computes nothing more; asked twice, as an earlier error may be told to the first who asks."""
        return self._whisper.model.device == "cuda" and not any(gpu.works() for _ in range(2))

    def _encode(self, rows: Sequence[Row | LanguageRow]) -> list[Key | None]:
        known = [self._known(row) for row in rows]
        unknown = [row for row, encoding in zip(rows, known, strict=True) if encoding is None]
        if unknown:
            computed = iter(self._encoded(unknown))
        following: list[Key | None] = []
        for row, encoding in zip(rows, known, strict=True):
            row.encoding = next(computed) if encoding is None else encoding
            if isinstance(row, LanguageRow):
                if not row.handed_on:
                    self._encodings.put((row.digest, row.heard), row.encoding)
                following.append(Key(Stage.LANGUAGE, (row.heard,)))
            else:
                # Here, and not where features are cut: the encoding may be the one that the language was told from.
                row.size = min(FRAMES, row.frames - row.seek)
                row.timed = self._is_timed(row.decoding)
                row.prompt = self._prompt(row)
                row.attempts = []
                following.append(self._decode_key(row))
        return following

    def _known(self, row: Row | LanguageRow) -> Floats | None:
        """The encoding of a pass that begins where its window does, if the language was told from it."""
        if row.encoding is not None or (isinstance(row, Row) and row.seek):
            return row.encoding
        return self._encodings.get((row.digest, row.heard))

    def _encoded(self, rows: Sequence[Row | LanguageRow]) -> list[Any]:
        """What the encoder makes of rows that are heard in one length, shape (1, heard / 2, width) each."""
        features = np.stack([pad_or_trim(passes.heard(row), row.heard) for row in rows])
        return [encoding[np.newaxis] for encoding in self.encoder.encode(features)]

    def _decode_key(self, row: Row) -> Key:
        """Rows decode together that search alike, start at the same position and are heard in one length."""
        search = row.temperature or row.decoding.beam_size
        return Key(Stage.DECODE, (row.temperature > 0, search, len(row.prompt), row.heard))

    def _together(self, rows: Sequence[Row] | Sequence[LanguageRow]) -> Any:
        """The rows' encodings as the model takes them."""
        return get_ctranslate2_storage(np.concatenate([row.encoding for row in rows if row.encoding is not None]))

    def _prompt(self, row: Row) -> list[int]:
        """What goes before the text. Hot words and previous text share half the model's length, as in Whisper."""
        half = self._whisper.max_length // 2 - 1
        hotwords = row.tokenizer.encode(" " + row.decoding.hotwords.strip())[:half] if row.decoding.hotwords else []
        room = half - len(hotwords)
        previous = row.context.tokens()[-room:] if room else []
        prompt: list[int] = self._whisper.get_prompt(
            row.tokenizer, previous, without_timestamps=not row.timed, hotwords=row.decoding.hotwords
        )
        return prompt

    def _is_timed(self, decoding: Decoding) -> bool:
        """
        Whether the model is to write timestamps, which faster-whisper's windows that lean on each other always do.

        On a GPU CTranslate2 takes 51 ms for a step with them and 11 without; on a CPU, where words have to be aligned
        for it, nothing is saved.
        """
        if decoding.segmentation is Segmentation.AUTO:
            return self.timed_by_default or decoding.condition_on_previous_text
        return decoding.segmentation is Segmentation.TIMESTAMPS

    def _detect_language(self, rows: Sequence[LanguageRow]) -> list[Key | None]:
        for row, languages in zip(rows, self._whisper.model.detect_language(self._together(rows)), strict=True):
            row.found = {token[2:-2]: float(probability) for token, probability in languages}
        return [None] * len(rows)

    def _decode(self, rows: Sequence[Row]) -> list[Key | None]:
        attempts = [
            passes.attempt(row, result, row.temperature) for row, result in zip(rows, self._written(rows), strict=True)
        ]
        for row, attempt in zip(rows, attempts, strict=True):
            row.attempts.append(attempt)
        return [self._after(row) for row in rows]

    def _after(self, row: Row) -> Key | None:
        if row.heard < FRAMES and row.attempts[-1].unreliable:
            return _in_full(row)
        return self._assess(row) if row.settled else self._decode_key(row)

    def _written(self, rows: Sequence[Row]) -> Sequence[Any]:
        """What the model writes for rows that search alike."""
        temperature = rows[0].temperature
        if temperature > 0:
            search = {
                "beam_size": 1, "num_hypotheses": BEST_OF, "sampling_topk": 0, "sampling_temperature": temperature,
            }  # fmt: skip
        else:
            search = {"beam_size": rows[0].decoding.beam_size, "patience": 1}
        results: Sequence[Any] = self._whisper.model.generate(
            self._together(rows),
            [row.prompt for row in rows],
            length_penalty=1,
            max_length=self._whisper.max_length,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_blank=True,
            suppress_tokens=_suppressed(rows[0].tokenizer),
            max_initial_timestamp_index=LATEST_FIRST_TIMESTAMP,
            **search,
        )
        return results

    def _assess(self, row: Row) -> Key | None:
        """Cut what was taken into segments; silence has none. What doesn't get on is tried again, then skipped."""
        attempt = best(row.attempts)
        if attempt.silent:
            row.pieces = []
            row.seek += row.size
            return self._end_pass(row)
        started = row.seek
        self._split(row, attempt)
        if row.seek - started < min(LEAST_REST, row.size):
            row.pieces, row.seek = [], started
            row.attempts = [replace(one, stuck=True) if one is attempt else one for one in row.attempts]
            return self._unstick(row)
        if (row.decoding.word_timestamps or not row.timed) and any(passes.text_tokens(row)):
            return Key(Stage.ALIGN, (*row.tokenizer.sot_sequence, row.heard))
        return self._end_pass(row)

    def _unstick(self, row: Row) -> Key | None:
        """Try another way to get on, and leave the rest of the window out when there is none."""
        if row.heard < FRAMES:
            return _in_full(row)
        if not row.exhausted:
            return self._decode_key(row)
        if not all(one.stuck for one in row.attempts):
            return self._assess(row)
        return self._end_pass(passes.skip(row))

    def _split(self, row: Row, attempt: Attempt) -> None:
        started = row.seek
        if not row.timed:
            times = started * passes.SECONDS_PER_FRAME, (started + row.size) * passes.SECONDS_PER_FRAME
            tokens = [token for token in attempt.tokens if token < row.tokenizer.eot]
            row.pieces = [{"seek": started, "start": times[0], "end": times[1], "tokens": tokens}] if tokens else []
            row.seek, row.ends_whole = started + row.size, True
            return
        pieces, row.seek, row.ends_whole = self._whisper._split_segments_by_timestamps(  # noqa: SLF001
            tokenizer=row.tokenizer,
            tokens=list(attempt.tokens),
            time_offset=started * passes.SECONDS_PER_FRAME,
            segment_size=row.size,
            segment_duration=row.size * passes.SECONDS_PER_FRAME,
            seek=started,
        )
        # As Whisper has it: what takes no time by the model's own timestamps was made up.
        row.pieces = [piece for piece in pieces if piece["start"] < piece["end"]]

    def _align(self, rows: Sequence[Row]) -> list[Key | None]:
        for row, result in zip(rows, self._aligned(rows), strict=True):
            started = row.pieces[0]["seek"]
            if not result.alignments:  # too little sound for even one step: faster-whisper would stumble over it
                for piece in row.pieces:
                    if row.decoding.word_timestamps:
                        piece["words"] = []
                continue
            aligned = _Aligned(self._whisper, result)
            aligned.add_word_timestamps(
                [row.pieces], row.tokenizer, None, row.size, PREPENDED, APPENDED, last_speech_timestamp=0.0
            )
            if not row.timed:
                row.pieces = pieces_of_words(row.pieces[0], aligned.words, keep_words=row.decoding.word_timestamps)
            end = passes.unheard_from(row, started)
            if end is not None and end >= started + LEAST_REST:
                row.seek = end
        return [self._end_pass(row) for row in rows]

    def _aligned(self, rows: Sequence[Row]) -> Sequence[Any]:
        """When the tokens of rows, whose transcripts begin alike, were said."""
        results: Sequence[Any] = self._whisper.model.align(
            self._together(rows),
            rows[0].tokenizer.sot_sequence,
            [passes.text_tokens(row) for row in rows],
            [row.size for row in rows],
        )
        return results

    def _end_pass(self, row: Row) -> Key | None:
        """Keep the pass's segments, and go on with what is left of the window."""
        attempt = best(row.attempts)
        for piece in row.pieces:
            text = row.tokenizer.decode(piece["tokens"])
            if not text.strip():
                continue
            row.context.add(piece["tokens"])
            row.segments.append(passes.segment(piece, text, attempt))
        row.context.end_pass(row.attempts[-1].temperature)
        row.encoding = None
        row.heard = FRAMES
        row.passes += 1
        if row.passes >= MAX_PASSES and row.seek + LEAST_REST < row.frames:
            passes.skip(row)
        return encode_key(row) if row.seek + LEAST_REST < row.frames else None


def _in_full(row: Row) -> Key:
    """Hear once more, in the length that the model was trained for, what came out unreliable in its own."""
    row.heard, row.encoding, row.attempts = FRAMES, None, []
    return encode_key(row)


class _Aligned(WhisperModel):  # type: ignore[misc]
    """
    faster-whisper's timing of words, over an alignment that was computed in a batch.

    ``words`` are those that it timed, with their tokens; where one was joined to its neighbour it is left empty.
    """

    def __init__(self, whisper: WhisperModel, result: Any) -> None:
        self._result = result
        self.frames_per_second = whisper.frames_per_second
        self.words: list[dict[str, Any]] = []

    def find_alignment(self, tokenizer: Tokenizer, text_tokens: list[list[int]], *_: Any) -> list[list[dict[str, Any]]]:
        """The words of a row: faster-whisper's own takes a millisecond of Python for them."""
        self.words = words_of(self._result, text_tokens[0], tokenizer)
        return [self.words]


def _suppressed(tokenizer: Tokenizer) -> list[int]:
    """Tokens that are never written: brackets, notes, and all that isn't text."""
    found = getattr(tokenizer, "suppressed", None)
    if found is None:
        found = tokenizer.suppressed = list(get_suppressed_tokens(tokenizer, [-1]))
    return found
