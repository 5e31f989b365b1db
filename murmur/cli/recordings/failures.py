"""A recording that has no transcript, and why."""

from dataclasses import dataclass

from murmur.cli.recordings.inputs import Source
from murmur.client.errors import MurmurError
from murmur.errors import CliError


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong with one recording."""

    source: Source
    error: BaseException

    def __str__(self) -> str:
        # The sentence of an error that nobody foresaw says little without its kind.
        kind = "" if isinstance(self.error, MurmurError | CliError | OSError) else f"{type(self.error).__name__}: "
        return f"{self.source.name}: {kind}{self.error}"
