"""A job as an answer: its JSON, its `ETag` and its headers, made once for as long as the job stays the same."""

import hashlib
import math
from dataclasses import dataclass

from api.schemas import job_out
from transcription.job import Job

POLL_S = (1, 30)
REMEMBERED = 2048
"""Answers that one process keeps; each takes some 2 kB."""

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class JobAnswer:
    """
    What is sent for a job.

    ``unchanged`` are the headers where the client holds it already (304), ``headers`` those that come with ``body``.
    """

    job: Job
    root: str
    tag: str
    body: bytes
    unchanged: Headers
    headers: Headers


class JobAnswers:
    """Answers by their jobs. A job that the store gives twice, the very same value, is written once."""

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._known: dict[str, JobAnswer] = {}

    def of(self, job: Job, *, root: str) -> JobAnswer:
        """The answer for *job*; *root* is the path under which the API stands behind a proxy."""
        known = self._known.get(job.id)
        if known is not None and known.job is job and known.root == root:
            return known
        made = _answer(job, root)
        self._known.pop(job.id, None)
        self._known[job.id] = made
        if len(self._known) > self._most:
            del self._known[next(iter(self._known))]
        return made


def _answer(job: Job, root: str) -> JobAnswer:
    body = job_out(job, root=root).model_dump_json().encode()
    tag = f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    headers = [(b"etag", tag.encode()), (b"cache-control", b"private, no-cache")]
    if not job.status.terminal:
        headers.append((b"retry-after", str(poll_after_s(job)).encode()))
    content = [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")]
    return JobAnswer(job, root, tag, body, headers, [*headers, *content])


def poll_after_s(job: Job) -> int:
    """When it is worth looking at *job* again, in whole seconds: near its turn, or soon where that isn't known."""
    least, most = POLL_S
    eta = job.queue.eta_s if job.queue and job.queue.eta_s is not None else 0.0
    return max(least, min(most, math.ceil(eta)))


def matches(if_none_match: str | None, tag: str) -> bool:
    """Whether the client holds what *tag* names; weak comparison, as RFC 9110 has it for this header."""
    if if_none_match is None:
        return False
    held = [part.strip().removeprefix("W/") for part in if_none_match.split(",")]
    return tag in held or held == ["*"]
