"""A request with a recording, as everything behind the route sees it: no part of the web framework goes further."""

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field

from starlette.requests import ClientDisconnect, Request

from api.auth.rate_limits import LimitState
from api.uploads.form import printable
from transcription.access import Principal
from transcription.errors import MalformedRequest, UploadIncomplete


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


def incoming(request: Request) -> Incoming:
    """What *request* brings; the middleware before the route has said who sends it."""
    state = request.scope.get("state", {})
    return Incoming(
        client=state.get("client", Principal()),
        headers=request.headers,
        query=tuple(request.query_params.multi_items()),
        body=lambda: _chunks(request),
        limit_states=state.get("limit_states", []),
        request_id=state.get("request_id", ""),
        traceparent=state.get("traceparent", ""),
    )


async def _chunks(request: Request) -> AsyncGenerator[bytes, None]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect as error:
        raise UploadIncomplete("the connection ended before the body did; nothing was kept") from error
