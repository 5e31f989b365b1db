"""Zero retention, answer by answer: which of them delete what was read, and what becomes of a deletion that fails."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from api.middleware import zero_retention
from api.middleware.zero_retention import ZeroRetention
from transcription.errors import JobNotFound, LedgerUnavailable

pytestmark = pytest.mark.anyio


class Submissions:
    """Forgets jobs, once it has raised what it was given."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = [*errors]
        self.forgotten: list[str] = []
        self.tries = 0

    async def forget(self, job: str, *, tenant: str) -> None:
        self.tries += 1
        if self._errors:
            raise self._errors.pop(0)
        self.forgotten.append(f"{tenant}/{job}")


async def deleted(submissions: Submissions, *, status: int = 200, gone: bool = False) -> list[str]:
    """What is deleted after an answer of *status* for which a whole result was read."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        noted = zero_retention._reading.get()
        assert noted is not None
        noted["j1"] = "t1"
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"a half", "more_body": True})
        await send({"type": "http.response.body", "body": b"the rest"})

    async def receive() -> Any:
        if not gone:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(_: Any) -> None:
        return

    platform = SimpleNamespace(submissions=submissions)
    served = SimpleNamespace(state=SimpleNamespace(platform=platform))
    middleware = ZeroRetention(app)
    await middleware({"type": "http", "method": "GET", "app": served}, receive, send)
    await asyncio.gather(*middleware._deleting)
    return submissions.forgotten


async def test_only_a_good_answer_that_somebody_was_there_for_deletes() -> None:
    assert await deleted(Submissions()) == ["t1/j1"]
    for status in (304, 422, 500):
        assert await deleted(Submissions(), status=status) == []
    assert await deleted(Submissions(), gone=True) == []


async def test_a_deletion_that_fails_is_tried_again_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zero_retention, "_PAUSE_S", 0.0)
    away = LedgerUnavailable("away", retry_after_s=1)
    assert await deleted(Submissions(away, away)) == ["t1/j1"]
    by_another, never = Submissions(JobNotFound("gone")), Submissions(*[away] * 100)
    assert await deleted(by_another) == await deleted(never) == []
    assert (by_another.tries, never.tries) == (1, zero_retention._TRIES)
