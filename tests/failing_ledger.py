"""A ledger some of whose calls fail, as during an outage or by a fault that nobody foresaw."""

from typing import Any

from transcription.errors import LedgerUnavailable
from transcription.ledger.span_store import RedisSpans

ODD = RuntimeError("nobody foresaw this")
AWAY = LedgerUnavailable("the ledger is away", retry_after_s=1)


class Failing:
    """A ledger some of whose calls fail, the next so many times, and that says which were made."""

    def __init__(self, spans: RedisSpans) -> None:
        self._spans = spans
        self.errors: dict[str, list[Exception]] = {}
        self.calls: list[str] = []

    def fail(self, name: str, *errors: Exception) -> None:
        self.errors[name] = list(errors)

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **keywords: Any) -> Any:
            self.calls.append(name)
            if self.errors.get(name):
                raise self.errors[name].pop(0)
            return getattr(self._spans, name)(*args, **keywords)

        return call
