"""Whoever takes a huge transcript holds nobody else up."""

import asyncio
import threading
from typing import Any

import pytest

from tests import audio_files
from tests.api_client import Bench
from transcription.formats import WRITERS
from transcription.options import ResponseFormat
from transcription.transcript import Transcript

pytestmark = pytest.mark.anyio


async def test_others_are_answered_while_a_huge_transcript_is_written(
    api: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = (await api.submit(audio_files.wav())).json()
    api.jobs.finish(job["id"])
    answered = threading.Event()

    def long(_: Transcript) -> dict[str, Any]:
        """Goes on until somebody else was answered: for ever, if it were on the loop."""
        assert answered.wait(10)
        return {"text": "a day of words"}

    monkeypatch.setitem(WRITERS, ResponseFormat.VERBOSE_JSON, long)
    taking = asyncio.create_task(api.http.get(f"{job['urls']['result']}?format=verbose_json"))
    await asyncio.sleep(0)
    assert (await api.http.get("/health/live")).status_code == 200
    answered.set()
    assert (await taking).json() == {"text": "a day of words"}
