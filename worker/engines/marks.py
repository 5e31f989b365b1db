"""Marks: the ids of a Whisper tokenizer that stand for no text, as a search of our own needs them."""

from dataclasses import dataclass

from tokenizers import Tokenizer

LATEST_FIRST_TIMESTAMP = 50
"""In steps of 20 ms: the first segment of a window begins in its first second."""


@dataclass(frozen=True, slots=True)
class Marks:
    """The ids that mean something to the search; from ``timestamps`` on every id is a time."""

    size: int
    end: int
    start: int
    no_speech: int
    timestamps: int


def marks_of(tokenizer: Tokenizer, size: int) -> Marks:
    """The marks in *tokenizer*, whose model knows *size* ids. ValueError: it isn't that model's."""

    def identifier(*words: str) -> int:
        found = [tokenizer.token_to_id(f"<|{word}|>") for word in words]
        known = next((int(number) for number in found if number is not None), None)
        if known is None:
            raise ValueError(f"its tokenizer.json has no <|{words[0]}|>: it isn't Whisper's")
        if known >= size:
            raise ValueError(f"its tokenizer.json has {known} for <|{words[0]}|>, but the model knows only {size} ids")
        return known

    return Marks(
        size=size,
        end=identifier("endoftext"),
        start=identifier("startoftranscript"),
        no_speech=identifier("nospeech", "nocaptions"),
        timestamps=identifier("notimestamps") + 1,
    )
