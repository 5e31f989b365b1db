"""Whisper's byte pair encoding, from the table that openai-whisper ships."""

import base64
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import tiktoken

from demo.training.lexicon import WORDS, capitalise
from demo.weights import TextToken

_PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""


@cache
def ranks() -> dict[bytes, int]:
    """The id of every text token; a lower one was merged earlier."""
    spec = find_spec("whisper")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("openai-whisper isn't installed; its token table is needed")
    table = Path(spec.origin).with_name("assets") / "multilingual.tiktoken"
    pairs = (line.split() for line in table.read_text().splitlines())
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


@cache
def encoding() -> tiktoken.Encoding:
    """Whisper's text encoding, without its special tokens."""
    return tiktoken.Encoding(
        "whisper",
        pat_str=_PATTERN,
        mergeable_ranks=ranks(),
        special_tokens={},
        explicit_n_vocab=len(ranks()),
    )


def used_ids() -> list[int]:
    """The ids that the closed vocabulary needs, in order."""
    texts = [".", "?", *(f" {form}" for word in WORDS for form in (word, capitalise(word)))]
    return sorted({identifier for text in texts for identifier in encoding().encode(text)})


def tokenizer_entries(used: list[int]) -> list[TextToken]:
    """All bytes, *used*, and every token on the way from bytes to them, ordered by id."""
    contents = {identifier: content for content, identifier in ranks().items()}
    lefts: dict[bytes, bytes] = {bytes([byte]): b"" for byte in range(256)}
    waiting = [contents[identifier] for identifier in used]
    while waiting:
        token = waiting.pop()
        if token not in lefts:
            left, right = _halves(token)
            lefts[token] = left
            waiting += [left, right]
    return sorted(
        (TextToken(ranks()[content], content, left) for content, left in lefts.items()),
        key=lambda token: token.id,
    )


def _halves(token: bytes) -> tuple[bytes, bytes]:
    """The two tokens whose merge makes *token*."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        merged = [left + right for left, right in pairwise(parts)]
        best = min(range(len(merged)), key=lambda index: ranks().get(merged[index], len(ranks())))
        parts[best : best + 2] = [merged[best]]
    left, right = parts
    return left, right
