"""Server-sent events as a client reads them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class Sse:
    id: str
    type: str
    data: Any


def parse(lines: Iterator[str]) -> Iterator[Sse]:
    """Events as they come; comments are skipped."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
            continue
        if "data" in fields:
            yield Sse(fields["id"], fields["event"], json.loads(fields["data"]))
        fields = {}


@contextmanager
def following(api: httpx.Client, job_id: str, after: str | None = None) -> Iterator[Iterator[Sse]]:
    """Follow a job from after the event *after*, as a browser does when it comes back."""
    headers = {"last-event-id": after} if after else {}
    with api.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as answer:
        assert answer.status_code in (200, 204), answer.read()
        yield parse(answer.iter_lines())


def everything(api: httpx.Client, job_id: str, after: str | None = None) -> list[Sse]:
    """All events after *after*, to the job's end."""
    with following(api, job_id, after) as events:
        return list(events)
