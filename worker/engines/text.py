"""A client's text as tokens: text is text, whatever control tokens it spells."""

import re

from faster_whisper.tokenizer import Tokenizer

# Every control token is written as `<|…|>`; cut here, none of them is left to be found.
_MARK = re.compile(r"(?<=<)(?=\|)")


class TextTokenizer(Tokenizer):  # type: ignore[misc]
    """
    faster-whisper's tokenizer, but for text that spells control tokens, and for translations.

    `<|endoftext|>` in a prompt is those thirteen characters: as the token it would end, restart or garble what the
    model writes, and keep it busy for minutes. A translation is English, with spaces between its words, whatever is
    spoken.
    """

    def encode(self, text: str) -> list[int]:
        """The tokens of *text*, none of them a control token or a time."""
        ids = [token for part in _MARK.split(text) for token in super(TextTokenizer, self).encode(part)]
        return [token for token in ids if token < self.eot]

    def decode_with_timestamps(self, tokens: list[int]) -> str:
        """The text of *tokens*; times, of which faster-whisper's own looks for each, are rare where words are cut."""
        if max(tokens, default=0) < self.timestamp_begin:
            return str(self.tokenizer.decode(tokens))
        return str(super().decode_with_timestamps(tokens))

    def split_to_word_tokens(self, tokens: list[int]) -> tuple[list[str], list[list[int]]]:
        """The words that *tokens* spell, and the tokens of each."""
        split = self.split_tokens_on_spaces if self.task == self.translate else super().split_to_word_tokens
        words: tuple[list[str], list[list[int]]] = split(tokens)
        return words
