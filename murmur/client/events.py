"""A job's events over HTTP: server-sent events, taken up again after the last one where a connection breaks."""

import time
from collections.abc import Iterable, Iterator

import httpx
import orjson

from murmur.client.responses import ApiError, RemoteEvent

PAUSE_S = 1.0
BUSY = (429, 502, 503, 504)
AWAY_S = 60.0
"""How long the platform may be away before following is given up."""


def follow(http: httpx.Client, job_id: str, after: str | None) -> Iterator[RemoteEvent]:
    """
    Yield what happens to a job until its end, nothing lost and nothing twice.

    Args:
        http: A client of the platform.
        job_id: The job.
        after: An event's id: go on after it.

    Raises:
        httpx.HTTPStatusError: the platform refuses; its answer has been read.
        ApiError: it was away for a minute.
    """
    heard_at = time.monotonic()
    while True:
        headers = {"Last-Event-ID": after} if after else {}
        try:
            with http.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as answer:
                if answer.status_code == httpx.codes.NO_CONTENT:
                    return
                if answer.is_error and answer.status_code not in BUSY:
                    answer.read()
                    answer.raise_for_status()
                broken = f"status {answer.status_code}, and then nothing more"
                for event in events(answer.iter_lines() if answer.is_success else ()):
                    after, heard_at = event.id, time.monotonic()
                    yield event
                    if event.last:
                        return
        except httpx.TransportError as error:
            broken = str(error) or type(error).__name__
        if time.monotonic() - heard_at > AWAY_S:
            raise ApiError("unreachable", f"no events from {http.base_url}: {broken}", 0)
        time.sleep(PAUSE_S)


def events(lines: Iterable[str]) -> Iterator[RemoteEvent]:
    """Parse a stream's *lines*; comments, and an event that breaks off, are skipped."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif "data" in fields:
            yield RemoteEvent(id=fields["id"], type=fields["event"], data=orjson.loads(fields["data"]))
            fields = {}
