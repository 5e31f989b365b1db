"""The shapes of transcripts that files are written in."""

import json
from enum import StrEnum
from typing import Any


class Format(StrEnum):
    """Shapes of a transcript."""

    TEXT = "text"
    SRT = "srt"
    VTT = "vtt"
    TSV = "tsv"
    JSON = "json"
    VERBOSE_JSON = "verbose_json"

    @property
    def extension(self) -> str:
        """What a file of it ends with."""
        return {Format.TEXT: "txt", Format.VERBOSE_JSON: "json"}.get(self, self.value)

    def written(self, result: Any) -> str:
        """What the API gave, as a file's text."""
        return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, indent=2) + "\n"


ALL = (Format.TEXT, Format.SRT, Format.VTT, Format.TSV, Format.VERBOSE_JSON)
"""What `--format all` writes; the fuller JSON."""

CHOICES = (*(form.value for form in Format), "all")


def chosen(word: str) -> tuple[Format, ...]:
    """The formats that a word stands for. ValueError."""
    return ALL if word == "all" else (Format({"txt": "text"}.get(word, word)),)
