"""Writing text from sound with MLX: the most probable token after another, or one drawn at random."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import mlx.core as mx
import numpy as np

from worker.engines.marks import Marks


@dataclass(frozen=True, slots=True)
class Written:
    """A row's text, the logarithm of its probability, and that of nobody's speaking."""

    tokens: list[int]
    logprob: float
    no_speech: float


class _Grammar:
    """
    Whisper's rules of times, for all rows at once and on the device: times come in pairs, one pair round each
    segment, never go back, and are written as soon as all of them together beat every word.
    """

    def __init__(self, marks: Marks, suppressed: tuple[int, ...], rows: int) -> None:
        self._marks = marks
        self._ids = mx.arange(marks.size)[None]
        self._banned = _banned(marks, suppressed)
        self._last = mx.zeros(rows, dtype=mx.bool_)
        self._before = self._last
        self._latest = mx.full(rows, marks.timestamps)

    def first(self, logits: mx.array, latest: int) -> mx.array:
        """The first token is a time of at most *latest* steps."""
        first = self._marks.timestamps
        return mx.where((self._ids >= first) & (self._ids <= first + latest), logits, -mx.inf)

    def allowed(self, logits: mx.array) -> mx.array:
        """*logits*, shape (rows, ids), minus infinity for what may not come now."""
        is_time = self._ids >= self._marks.timestamps
        open_pair = self._last & ~self._before
        earliest = self._latest + mx.where(open_pair, 0, 1)
        times = ~(self._last & self._before)[:, None] & (self._ids >= earliest[:, None])
        words = ~open_pair[:, None] | (self._ids >= self._marks.end)
        logits = mx.where(mx.where(is_time, times, words) & self._banned, logits, -mx.inf)
        chance = mx.logsumexp(logits[:, self._marks.timestamps :], axis=-1, keepdims=True)
        best_word = mx.max(logits[:, : self._marks.timestamps], axis=-1, keepdims=True)
        return mx.where(~is_time & (chance > best_word), -mx.inf, logits)

    def words(self, logits: mx.array) -> mx.array:
        """*logits*, minus infinity for times and for what is never written."""
        return mx.where(self._banned & (self._ids < self._marks.timestamps), logits, -mx.inf)

    def add(self, tokens: mx.array, *, first: bool = False) -> None:
        """Take note of each row's next token."""
        is_time = tokens >= self._marks.timestamps
        self._before = mx.ones_like(self._last) if first else self._last
        self._last = is_time
        self._latest = mx.where(is_time, tokens, self._latest)


@lru_cache(maxsize=8)
def _banned(marks: Marks, suppressed: tuple[int, ...]) -> mx.array:
    allowed = np.ones((1, marks.size), dtype=np.bool_)
    allowed[0, [*suppressed, marks.timestamps - 1]] = False
    return mx.array(allowed)


def write(
    decoder: Any,
    marks: Marks,
    sound: mx.array,
    prompts: Sequence[Sequence[int]],
    *,
    temperature: float,
    suppressed: tuple[int, ...],
    latest_first: int,
    limit: int,
) -> list[Written]:
    """
    Write the text of some windows together; call it on MLX's thread.

    Args:
        decoder: mlx-whisper's, as (tokens, sound, kv_cache) -> (logits, kv_cache, weights).
        marks: The vocabulary.
        sound: What the encoder made of the windows, shape (rows, 1500, width).
        prompts: What each row begins with, the start mark in the same place in all of them.
        temperature: 0 takes the most probable token, more draws by chance.
        suppressed: Ids that are never written.
        latest_first: The latest time that a window's first segment may begin at, in steps of 20 ms.
        limit: Tokens after which a row ends anyhow.
    """
    rows = len(prompts)
    grammar = _Grammar(marks, suppressed, rows)
    timed = prompts[0][-1] != marks.timestamps - 1
    logits, cache, _ = decoder(mx.array([list(prompt) for prompt in prompts]), sound)
    at_start = logits[:, list(prompts[0]).index(marks.start)].astype(mx.float32)
    no_speech = mx.softmax(at_start, axis=-1)[:, marks.no_speech]
    total, done = mx.zeros(rows), mx.zeros(rows, dtype=mx.bool_)
    columns: list[mx.array] = []
    for step in range(limit):
        scores = logits[:, -1].astype(mx.float32)
        if timed:
            scores = grammar.allowed(scores) if step else grammar.first(scores, latest_first)
        else:
            scores = grammar.words(scores)
        chosen = mx.random.categorical(scores / temperature) if temperature else mx.argmax(scores, axis=-1)
        chosen = mx.where(done, marks.end, chosen)
        logprob = mx.take_along_axis(scores, chosen[:, None], axis=-1)[:, 0] - mx.logsumexp(scores, axis=-1)
        total = total + mx.where(done, 0.0, logprob)
        ended, done = done, done | (chosen == marks.end)
        columns.append(chosen)
        grammar.add(chosen, first=step == 0)
        logits, cache, _ = decoder(chosen[:, None], sound, kv_cache=cache)
        mx.async_eval(total, done, logits)  # type: ignore[no-untyped-call]
        # Asked of the step before: the device works on this one meanwhile.
        if bool(mx.all(ended)):
            break
    table = np.array(mx.stack(columns, axis=1))
    figures = zip(table.tolist(), np.array(total).tolist(), np.array(no_speech).tolist(), strict=True)
    return [Written(_until(tokens, marks.end), logprob, silence) for tokens, logprob, silence in figures]


def _until(tokens: list[int], end: int) -> list[int]:
    return tokens[: tokens.index(end)] if end in tokens else tokens
