"""
Damaged input of every kind: no crash, no 5xx, no leftover file.

A slice runs with every test run; `make fuzz` runs all of it: FUZZ_INPUTS how many (each to the API and each to the
decoder), FUZZ_SEED which ones. A failure names the seed and the number, which give the same input again.
"""

import os
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests import sound
from tests.api_client import Bench
from tests.fuzz.mutations import damaged
from tests.fuzz.targets import Request, recordings, requests, routes
from tests.memory_jobs import MemoryJobs
from tests.secured_api import secured, settings_for
from transcription.computation import DeadLetter
from transcription.errors import DeadLetterNotFound, DecoderFailed, InvalidAudio
from transcription.job import Job, Outcome, Submission
from transcription.media.decoder import Decoder
from transcription.media.prober import Prober
from transcription.settings import Limits, Settings

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(3600)]

INPUTS = int(os.environ.get("FUZZ_INPUTS", "150"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))


class InstantJobs(MemoryJobs):
    """Whoever waits for a result has it at once."""

    async def submit(self, submission: Submission) -> tuple[Job, Outcome]:
        job, outcome = await super().submit(submission)
        if not job.status.terminal:
            self.finish(job.id)
        return self.jobs[job.id], outcome

    async def dead_letters(self) -> tuple[DeadLetter, ...]:
        return ()

    async def dead_letter(self, computation: str) -> DeadLetter:
        raise DeadLetterNotFound(f"no dead letter {computation!r}")

    retry = drop = dead_letter


@pytest.fixture
async def api(redis_url: str, tmp_path: Path) -> AsyncIterator[Bench]:
    settings = settings_for(redis_url, tmp_path / "data", require_keys=False)
    limits = settings.limits.model_copy(update={"max_upload_bytes": 1_000_000, "max_duration_s": 60.0})
    async with secured(settings.model_copy(update={"limits": limits}), jobs=InstantJobs(), sandboxed=True) as running:
        yield running


async def send(api: Bench, request: Request) -> httpx.Response:
    path, mark, query = request.path.partition("?")
    headers = {"content-type": request.content_type.encode("latin-1")} if request.content_type else {}
    return await api.http.request(
        request.method, path + mark + quote(query, safe="=&%"), content=request.body, headers=headers, timeout=30
    )


async def test_no_damaged_request_is_answered_by_an_error_of_ours_or_leaves_a_file(api: Bench) -> None:
    known = routes(api.app.openapi())
    answered: dict[int, int] = {}
    for number, request in enumerate(requests(SEED, INPUTS, known)):  # fine: counted below
        answer = await send(api, request)
        where = f"seed {SEED}, number {number}: {request.method} {request.path[:80]} {request.content_type[:40]}"
        assert answer.status_code < 500, f"{where}: {answer.text[:300]}"
        answered[answer.status_code] = answered.get(answer.status_code, 0) + 1
        held = {submission.audio.sha256 for submission in api.jobs.submissions}
        assert {Path(name).name for name in api.leftovers()} <= held, where
    assert len(answered) > 2, "every input met the same fate: nothing was fuzzed"


def test_no_damaged_recording_brings_the_decoder_down(tmp_path: Path) -> None:
    settings = Settings(limits=Limits(max_duration_s=60))
    prober, decoder = Prober(settings), Decoder(settings)
    path = tmp_path / "upload"
    fates: dict[str, int] = {}

    def decoding(recording: Path) -> object:
        return decoder.decode(recording, sound.empty())

    try:
        for number in range(INPUTS):
            generator = random.Random(SEED * 1_000_003 + number)
            path.write_bytes(damaged(generator, generator.choice(recordings())))
            for judge in (prober, decoding):
                fate = _fate(judge, path)
                assert not fate.startswith("!"), f"seed {SEED}, number {number}: {fate}"
                fates[fate] = fates.get(fate, 0) + 1
    finally:
        prober.close()
        decoder.close()
    assert fates.get("ok")
    assert len(fates) > 2
    assert [one.name for one in tmp_path.iterdir()] == ["upload"]


def _fate(judge: Callable[[Path], object], path: Path) -> str:
    """What became of a recording: `ok`, an error's code, or what must not be, with an exclamation mark."""
    try:
        judge(path)
    except InvalidAudio as error:
        return f"!{error.message}" if "crashed" in error.message else error.code
    except DecoderFailed as error:
        return f"!{error.message}"
    return "ok"
