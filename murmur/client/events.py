"""A job's events over HTTP: server-sent events, taken up again after the last one where a connection breaks."""

import json
from collections.abc import AsyncIterator, Iterable, Iterator

import httpx

from murmur.client.errors import ApiError, Unreachable, refusal, unreachable
from murmur.client.responses import RemoteEvent

OLD_NAMES = {"error": "failed"}
"""What events were called in the first version."""


class EventParser:
    """Lines in, events out; comments, and an event that breaks off, are skipped."""

    def __init__(self) -> None:
        self._fields: dict[str, str] = {}

    def feed(self, line: str) -> RemoteEvent | None:
        """Take one line, without its end; an event where it was the last line of one."""
        if line:
            name, _, value = line.partition(":")
            self._fields[name] = value.removeprefix(" ")
            return None
        fields, self._fields = self._fields, {}
        if "data" not in fields:
            return None
        kind = OLD_NAMES.get(fields["event"], fields["event"])
        return RemoteEvent(id=fields["id"], type=kind, data=json.loads(fields["data"]))


def events(lines: Iterable[str]) -> Iterator[RemoteEvent]:
    """Parse a stream's *lines*."""
    parser = EventParser()
    for line in lines:
        if event := parser.feed(line):
            yield event


def stream(http: httpx.Client, job_id: str, after: str | None) -> Iterator[RemoteEvent | None]:
    """One connection's events; None at its end when there are no more. ApiError: it broke off, or was refused."""
    try:
        with http.stream("GET", f"/v1/jobs/{job_id}/events", headers=_headers(after)) as answer:
            if answer.is_error:
                answer.read()
                raise refusal(answer)
            yield from events(answer.iter_lines())
            if answer.status_code == httpx.codes.NO_CONTENT:
                yield None
    except httpx.TransportError as error:
        raise unreachable(str(http.base_url), error) from error
    raise broken_off(str(http.base_url))


async def astream(http: httpx.AsyncClient, job_id: str, after: str | None) -> AsyncIterator[RemoteEvent | None]:
    """As `stream`."""
    parser = EventParser()
    try:
        async with http.stream("GET", f"/v1/jobs/{job_id}/events", headers=_headers(after)) as answer:
            if answer.is_error:
                await answer.aread()
                raise refusal(answer)
            async for line in answer.aiter_lines():
                if event := parser.feed(line):
                    yield event
            if answer.status_code == httpx.codes.NO_CONTENT:
                yield None
    except httpx.TransportError as error:
        raise unreachable(str(http.base_url), error) from error
    raise broken_off(str(http.base_url))


def broken_off(url: str) -> ApiError:
    """A stream that ended before its job did."""
    return Unreachable("unreachable", f"no events from {url}: the stream broke off", 0)


def _headers(after: str | None) -> dict[str, str]:
    return {"Last-Event-ID": after} if after else {}
