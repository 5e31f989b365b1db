"""The root of the error tree, and whose fault an error is."""

from enum import StrEnum
from typing import ClassVar


class Fault(StrEnum):
    """Whose fault an error is."""

    INPUT = "input"
    ENGINE = "engine"
    PLATFORM = "platform"


class MurmurationError(Exception):
    """Root of the tree. Subclasses that carry a ``code`` are leaves; only leaves are raised."""

    code: ClassVar[str]
    retryable: ClassVar[bool] = False
    fault: ClassVar[Fault] = Fault.INPUT
    advice: ClassVar[str] = ""
    """What an operator should do about a dead letter that has this code."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message
