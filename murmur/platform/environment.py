"""Settings on their way to child processes, as the environment variables that Settings reads."""

import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import BaseModel, SecretStr
from pydantic_core import to_json

from murmur.errors import CliError
from transcription.settings import Settings, read_settings
from transcription.settings.secret_files import SUFFIX

PREFIX = "MURMUR_"
DOTENV = Path(".env")
OF_THE_MACHINE = frozenset({"compute_type", "device", "limits", "log_format", "log_level", "worker"})
"""Settings, or parts of them, of what this machine can do; the others say what a platform is, and whose."""


def load(overrides: Mapping[str, Any] | None = None) -> Settings:
    """
    Read the settings: the command line's, then the environment's, then those of a file `.env` in this directory.

    Args:
        overrides: What the command line says, nested as the settings are; it wins. None is left out.

    Raises:
        CliError: a variable's value isn't valid; the sentence names the variable.
    """
    if DOTENV.is_file():
        borrow(DOTENV)
    return _read(overrides or {})


def load_alone(overrides: Mapping[str, Any]) -> Settings:
    """
    Read the settings of a platform that has nothing in common with any other.

    No file is read, and the environment, which children inherit, keeps of the settings only those of this machine.

    Args:
        overrides: What the command line says, nested as the settings are. None is left out.

    Raises:
        CliError: a variable's value isn't valid; the sentence names the variable.
    """
    foreign = Settings.model_fields.keys() - OF_THE_MACHINE
    for name in list(os.environ):
        part = name.upper().removeprefix(PREFIX).split("__")[0].lower().removesuffix(SUFFIX)
        if name.upper().startswith(PREFIX) and part in foreign:
            del os.environ[name]
    return _read(overrides)


def _read(overrides: Mapping[str, Any]) -> Settings:
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", FutureWarning)
            settings = read_settings(**_given(overrides))
    except ValueError as error:
        raise CliError(str(error)) from error
    for sentence in dict.fromkeys(str(one.message) for one in caught):
        print(f"murmur: {sentence}", file=sys.stderr)
    return settings


def borrow(file: Path) -> None:
    """Take the settings in *file*, a `.env` of Compose's, into the environment where it has none. CliError."""
    if not file.is_file():
        raise CliError(f"there is no file {file}")
    for name, value in dotenv_values(file).items():
        # Compose files have variables of their own, which are no settings.
        if name.removeprefix(PREFIX).split("__")[0].lower() in Settings.model_fields and value is not None:
            os.environ.setdefault(name, value)


def exported(settings: Settings) -> dict[str, str]:
    """The variables from which another process reads the same *settings*; defaults are left out."""
    found = dict(_exported(settings, PREFIX))
    # What a file has told is told: a child that inherits both ways would refuse to choose.
    files = {f"{name}_FILE" for name in found} - found.keys()
    return found | dict.fromkeys(files & os.environ.keys(), "")


def _exported(part: BaseModel, prefix: str) -> Iterator[tuple[str, str]]:
    for name in type(part).model_fields:
        value = getattr(part, name)
        if name not in part.model_fields_set or value is None:
            continue
        if isinstance(value, BaseModel):
            yield from _exported(value, f"{prefix}{name.upper()}__")
        else:
            yield f"{prefix}{name.upper()}", _text(value)


def _text(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        # pydantic writes stars for secrets.
        value = tuple(item.get_secret_value() if isinstance(item, SecretStr) else item for item in value)
    if isinstance(value, bool | tuple | dict):
        return to_json(value).decode()
    return str(value)


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    nested = {name: _given(value) if isinstance(value, Mapping) else value for name, value in values.items()}
    return {name: value for name, value in nested.items() if value is not None and value != {}}


def absolute(path: Path) -> Path:
    """*path* from the root, `~` expanded: children run in another directory."""
    return Path(os.path.abspath(path.expanduser()))  # noqa: PTH100  resolve() would follow links
