"""Every call of the API, apart from how it is sent: `Client` sends them and waits, `AsyncClient` awaits them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Generic, TypeVar, cast

import httpx
from pydantic import BaseModel

from murmur.client.errors import ApiError
from murmur.client.responses import RemoteDeadLetter, RemoteJob, RemotePage, RemoteTranscript, RemoteWebhooks

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """
    One request, and what its answer means.

    ``also``: statuses that are answers too; ``held_s``: for how long the server was asked to hold the answer;
    ``patient``: whether the call is repeated while the platform is away or busy.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    query: Mapping[str, Any] = field(default_factory=dict)
    json: Any = None
    also: tuple[int, ...] = ()
    held_s: float = 0.0
    patient: bool = True


def _nothing(_: httpx.Response) -> None:
    return None


def _json(response: httpx.Response) -> Any:
    return response.json()


def _of(model: type[M]) -> Callable[[httpx.Response], M]:
    return lambda response: model.model_validate(response.json())


def _within(name: str) -> Callable[[httpx.Response], list[dict[str, Any]]]:
    def read(response: httpx.Response) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = response.json()[name]
        return found

    return read


def _given(**query: Any) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value is not None}


def submit() -> Call[RemoteJob]:
    """Hand in a recording."""
    return Call(method="POST", path="/v1/jobs", read=_of(RemoteJob))


def after(error: ApiError, call: Call[T], asked: Call[T]) -> Call[T]:
    """
    What to send when *asked*, a try at *call*, has failed by *error*.

    A submit whose outcome is unknown is looked up by its id, without its recording, and sent again only where there is
    no such job.
    """
    if error.job_id:
        return cast("Call[T]", job(error.job_id, None))
    return call if error.status == HTTPStatus.NOT_FOUND else asked


def job(job_id: str, wait: float | None) -> Call[RemoteJob]:
    """Look a job up, at its end with *wait*."""
    return Call(
        method="GET", path=f"/v1/jobs/{job_id}", query=_given(wait=wait), read=_of(RemoteJob), held_s=wait or 0.0
    )


def result(job_id: str, format: str, *, partial: bool) -> Call[Any]:  # noqa: A002  the API's word
    """Take a transcript: a dict for the JSON formats, else a str."""
    read: Callable[[httpx.Response], Any] = _json if format in ("json", "verbose_json") else lambda answer: answer.text
    query = _given(format=format, partial=partial or None)
    return Call(method="GET", path=f"/v1/jobs/{job_id}/result", query=query, read=read)


def transcript(job_id: str) -> Call[RemoteTranscript]:
    """Take a transcript with its segments."""
    query = {"format": "verbose_json"}
    return Call(method="GET", path=f"/v1/jobs/{job_id}/result", query=query, read=_of(RemoteTranscript))


def jobs(*, status: str | None, limit: int | None, cursor: str | None) -> Call[RemotePage]:
    """One page of jobs."""
    query = _given(status=status, limit=limit, cursor=cursor)
    return Call(method="GET", path="/v1/jobs", query=query, read=_of(RemotePage))


def name_speakers(job_id: str, names: Mapping[str, str]) -> Call[RemoteJob]:
    """Give speakers their names."""
    return Call(method="PATCH", path=f"/v1/jobs/{job_id}/speakers", json=names, read=_of(RemoteJob))


def cancel(job_id: str) -> Call[RemoteJob]:
    """Give a job up."""
    return Call(method="POST", path=f"/v1/jobs/{job_id}/cancel", read=_of(RemoteJob))


def delete(job_id: str) -> Call[None]:
    """Delete a job."""
    return Call(method="DELETE", path=f"/v1/jobs/{job_id}", read=_nothing)


def webhooks(job_id: str) -> Call[RemoteWebhooks]:
    """What was sent to a job's webhook."""
    return Call(method="GET", path=f"/v1/jobs/{job_id}/webhooks", read=_of(RemoteWebhooks))


def replay_webhook(job_id: str) -> Call[RemoteWebhooks]:
    """Send a job's last message again."""
    return Call(method="POST", path=f"/v1/jobs/{job_id}/webhooks/replay", read=_of(RemoteWebhooks))


def health() -> Call[dict[str, Any]]:
    """What the platform says of itself, asked once: whoever asks wants to know how it is now."""
    return Call(method="GET", path="/health", read=_json, also=(503,), patient=False)


def stats() -> Call[dict[str, Any]]:
    """Jobs by state, queue, workers."""
    return Call(method="GET", path="/stats", read=_json)


def workers() -> Call[list[dict[str, Any]]]:
    """The live workers."""
    return Call(method="GET", path="/health/async", read=_within("workers"))


def models() -> Call[list[dict[str, Any]]]:
    """What live workers serve."""
    return Call(method="GET", path="/v1/models", read=_within("data"))


def dead_letters() -> Call[list[RemoteDeadLetter]]:
    """What failed though another try might help."""
    return Call(
        method="GET",
        path="/admin/dead",
        read=lambda answer: [RemoteDeadLetter.model_validate(one) for one in answer.json()["dead_letters"]],
    )


def dead_letter(computation: str) -> Call[RemoteDeadLetter]:
    """One dead letter."""
    return Call(method="GET", path=f"/admin/dead/{computation}", read=_of(RemoteDeadLetter))


def retry_dead_letter(computation: str) -> Call[None]:
    """Try a dead letter again."""
    return Call(method="POST", path=f"/admin/dead/{computation}/retry", read=_nothing)


def drop_dead_letter(computation: str) -> Call[None]:
    """Take a dead letter off the list."""
    return Call(method="DELETE", path=f"/admin/dead/{computation}", read=_nothing)
