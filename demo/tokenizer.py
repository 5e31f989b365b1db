"""Whisper's tokenizer cut down to the demo model's words, in the two forms that engines read."""

from collections.abc import Iterable
from typing import Any

from demo.vocabulary import FIRST_TIMESTAMP, SPECIAL_TOKENS, TEXT_IDS, TIMESTAMP_TOKENS
from demo.weights import TextToken


def printable_bytes() -> dict[int, str]:
    """GPT-2's table from a byte to the printable character that stands for it."""
    table = {byte: chr(byte) for byte in (*range(33, 127), *range(161, 173), *range(174, 256))}
    missing = (byte for byte in range(256) if byte not in table)
    return table | {byte: chr(256 + index) for index, byte in enumerate(missing)}


def tokenizer_json(tokens: Iterable[TextToken]) -> dict[str, Any]:
    """Build the contents of `tokenizer.json`, as the `tokenizers` library reads it."""
    table = printable_bytes()

    def spell(content: bytes) -> str:
        return "".join(table[byte] for byte in content)

    tokens = tuple(tokens)
    added = [_added_token(TEXT_IDS + index, text, special=True) for index, text in enumerate(SPECIAL_TOKENS)] + [
        _added_token(FIRST_TIMESTAMP + index, text, special=False) for index, text in enumerate(TIMESTAMP_TOKENS)
    ]
    vocabulary = {spell(token.content): token.id for token in tokens}
    # `tokenizers` ignores the id of an added token unless the model's own vocabulary has the same string.
    vocabulary |= {token["content"]: token["id"] for token in added}
    merges = [[spell(token.left), spell(token.content[len(token.left) :])] for token in tokens if token.left]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": merges,
        },
    }


def vocabulary_list(tokens: Iterable[TextToken]) -> list[str]:
    """The string of every id in order, with `<|unused…|>` for text ids that the model has no word for."""
    table = printable_bytes()
    strings = [f"<|unused{identifier}|>" for identifier in range(TEXT_IDS)]
    for token in tokens:
        strings[token.id] = "".join(table[byte] for byte in token.content)
    # CTranslate2 takes a model for multilingual when its vocabulary has the empty string, which Whisper's has here.
    strings[TEXT_IDS - 1] = ""
    return [*strings, *SPECIAL_TOKENS, *TIMESTAMP_TOKENS]


def _added_token(identifier: int, content: str, *, special: bool) -> dict[str, Any]:
    return {
        "id": identifier,
        "content": content,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": special,
    }
