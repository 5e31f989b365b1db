"""
The settings as people read them: `python -m murmur.cli.settings_table` writes them into the docs and .env.example.

All come from the settings' own names, defaults and descriptions; a test compares.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import to_json

from murmur.platform.environment import PREFIX
from murmur.platform.local import ROOT
from transcription.settings import Settings

BEGIN, END = "<!-- settings: `make docs` writes this table -->", "<!-- settings end -->"
ENV_HEAD = """\
# Settings of the platform, each with its default. Copy this file to .env, take away the # of what you change.
# Compose and `murmur` read .env by themselves. Lists may be written a,b.
# `make docs` writes this file from transcription/settings/.
"""


IMPORTANT = (
    "MURMUR_MODEL",
    "MURMUR_DEVICE",
    "MURMUR_DATA_DIR",
    "MURMUR_LEDGER__URL",
    "MURMUR_BLOBS__URL",
    "MURMUR_LIMITS__MAX_UPLOAD_BYTES",
    "MURMUR_LIMITS__MAX_DURATION_S",
    "MURMUR_RETENTION__RESULT_TTL_S",
    "MURMUR_SECURITY__REQUIRE_KEYS",
    "MURMUR_WEBHOOK__SECRETS",
)
"""What README.md shows; docs/configuration.md has all."""


@dataclass(frozen=True, slots=True)
class Row:
    """One variable; ``default`` is empty where there is none."""

    name: str
    default: str
    description: str


def rows(part: type[BaseModel] = Settings, prefix: str = PREFIX) -> Iterator[Row]:
    """Every variable, the platform's own first, then part by part."""
    nested = []
    for name, field in part.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            nested.append((field.annotation, f"{prefix}{name.upper()}__"))
        else:
            yield Row(f"{prefix}{name.upper()}", _default(field), field.description or "")
    for inner, inner_prefix in nested:
        yield from rows(inner, inner_prefix)


def table(shown: Iterable[Row]) -> str:
    """A Markdown table."""
    lines = ["| variable | default | |", "|---|---|---|"]
    for row in shown:
        default, description = row.default and f"`{row.default}`", row.description.replace("|", "\\|")
        lines.append(f"| `{row.name}` | {default} | {description} |")
    return "\n".join(lines)


def env_example() -> str:
    """The file for copying."""
    return ENV_HEAD + "".join(f"\n# {row.description}\n# {row.name}={row.default}\n" for row in rows())


def important() -> Iterator[Row]:
    """The ten that most operators set, in the order of IMPORTANT."""
    known = {row.name: row for row in rows()}
    return (known[name] for name in IMPORTANT)


def with_table(text: str, shown: Iterable[Row]) -> str:
    """A page of Markdown with a table of *shown* between its marks. ValueError: it has no marks."""
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise ValueError(f"the page has no line {BEGIN!r} with {END!r} after it")
    return f"{before}{BEGIN}\n{table(shown)}\n{END}{after}"


def main() -> None:
    """Write all files anew."""
    for page, shown in ((ROOT / "README.md", important()), (ROOT / "docs" / "configuration.md", rows())):
        page.write_text(with_table(page.read_text(encoding="utf-8"), shown), encoding="utf-8")
    (ROOT / ".env.example").write_text(env_example(), encoding="utf-8")


def _default(field: FieldInfo) -> str:
    value: Any = field.get_default(call_default_factory=True)
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, Path):
        # Whoever writes the page isn't whoever reads it.
        return str(value).replace(str(Path.home()), "~", 1)
    if isinstance(value, tuple | dict | bool):
        return to_json(value).decode()
    return "" if value is None else str(value)


if __name__ == "__main__":
    main()
