"""Lengths of time and warnings, as the ledger keeps them, and back."""

from collections.abc import Iterable

import orjson

from transcription.result_warning import ResultWarning, parsed


def ms(seconds: float) -> int:
    """Seconds as the ledger keeps them."""
    return round(seconds * 1000)


def seconds(value: str | int | None) -> float | None:
    """The ledger's milliseconds; None for what isn't set."""
    return None if value in (None, "") else float(value) / 1000


def warnings_written(found: Iterable[ResultWarning]) -> str:
    """Warnings as the scripts take them: a line each, its code and its JSON."""
    return "\n".join(f"{warning.code.value} {orjson.dumps(warning.shape()).decode()}" for warning in found)


def warnings(written: str | None) -> tuple[ResultWarning, ...]:
    """What `warnings_written` wrote, of one call or of several."""
    lines = (written or "").split("\n")
    found = parsed(orjson.loads(line.partition(" ")[2]) for line in lines if line)
    return tuple(dict.fromkeys(found))  # every channel says what is wrong with the file
