"""Settings in files: `MURMUR_NAME_FILE` names a file whose text is `MURMUR_NAME`, as Docker's secrets are mounted."""

from collections.abc import Mapping
from pathlib import Path

from transcription.settings.section import expanded

SUFFIX = "_file"


class SecretFileError(ValueError):
    """A file that can't be used; the message names the variable."""


def from_files(variables: Mapping[str, str | None], known: frozenset[str]) -> dict[str, str | None]:
    """
    *variables* with what the files hold that some of them name; spaces and line ends around it don't count.

    Args:
        variables: By their names in lower case.
        known: Every setting's name, in upper case.

    Raises:
        SecretFileError: a file can't be read or is empty, or a setting is given in both ways.
    """
    found = dict(variables)
    for name, path in variables.items():
        setting = name.removesuffix(SUFFIX)
        if setting == name or name.upper() in known or setting.upper() not in known or not path:
            continue
        if variables.get(setting):
            raise SecretFileError(f"{name.upper()}: {setting.upper()} is set too; set one of them")
        found[setting] = _text(name.upper(), path)
        del found[name]
    return found


def _text(name: str, path: str) -> str:
    try:
        text = expanded(Path(path)).read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or ("it isn't text" if isinstance(error, UnicodeError) else error)
        raise SecretFileError(f"{name}: the file {path} can't be read: {why}") from error
    if not text:
        raise SecretFileError(f"{name}: the file {path} is empty")
    return text
