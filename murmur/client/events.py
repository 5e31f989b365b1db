"""A job's events over HTTP: server-sent events, taken up again after the last one where a connection breaks."""

import json
import re
from collections.abc import AsyncIterator, Iterator

import httpx

from murmur.client.errors import ApiError, Unreachable, refusal, unreachable
from murmur.client.responses import RemoteEvent

OLD_NAMES = {"error": "failed"}
"""What events were called in the first version."""


_LINE_END = re.compile(r"\r\n|\n|\r(?!$)")
"""Not what `str.splitlines` takes for one besides: JSON may hold it. A last CR may be half of one."""


class EventParser:
    """Text in, events out; comments, and an event that breaks off, are skipped."""

    def __init__(self) -> None:
        self._rest = ""
        self._fields: dict[str, str] = {}

    def feed(self, text: str) -> list[RemoteEvent]:
        """Take the next piece of the stream; the events that end in it."""
        *lines, self._rest = _LINE_END.split(self._rest + text)
        return [event for line in lines if (event := self._take(line))]

    def _take(self, line: str) -> RemoteEvent | None:
        if line:
            name, _, value = line.partition(":")
            self._fields[name] = value.removeprefix(" ")
            return None
        fields, self._fields = self._fields, {}
        if "data" not in fields:
            return None
        kind = OLD_NAMES.get(fields["event"], fields["event"])
        return RemoteEvent(id=fields["id"], type=kind, data=json.loads(fields["data"]))


def stream(http: httpx.Client, job_id: str, after: str | None) -> Iterator[RemoteEvent | None]:
    """One connection's events; None at its end when there are no more. ApiError: it broke off, or was refused."""
    parser = EventParser()
    try:
        with http.stream("GET", f"/v1/jobs/{job_id}/events", headers=_headers(after)) as answer:
            if answer.is_error:
                answer.read()
                raise refusal(answer)
            for text in answer.iter_text():
                yield from parser.feed(text)
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
            async for text in answer.aiter_text():
                for event in parser.feed(text):
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
