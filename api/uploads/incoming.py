"""A request with a recording, as everything behind the route sees it."""

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field

from api.auth.rate_limits import LimitState
from api.uploads.form import printable
from transcription.access import Principal
from transcription.errors import MalformedRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """
    Who sends what.

    ``headers`` by their names in lower case, ``query`` in the order in which it came. ``body`` gives the bytes as they
    come, once. What is left of the client's limits is added to ``limit_states``, from where it reaches the answer.
    """

    client: Principal
    headers: Mapping[str, str]
    query: tuple[tuple[str, str], ...]
    body: Callable[[], AsyncGenerator[bytes, None]]
    limit_states: list[LimitState] = field(default_factory=list)
    request_id: str = ""
    traceparent: str = ""

    @property
    def declared_bytes(self) -> int:
        """
        The body's length by its header, 0 where it isn't said.

        Raises:
            MalformedRequest: the header isn't a number.
        """
        header = self.headers.get("content-length", "0")
        if not (header.isascii() and header.isdigit() and len(header) < 20):
            raise MalformedRequest(f"Content-Length is {printable(header)!r}, which is no number of bytes")
        return int(header)
