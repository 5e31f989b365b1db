"""The client library's examples and promises, on a real platform."""

import asyncio
import base64
import doctest
import hashlib
import hmac
import os
import time
from pathlib import Path

import pytest

import murmur
from demo import SAMPLES
from murmur import AsyncClient, BadRequest, Client, JobCanceled, MurmurError, NotFound, Unreachable, verify_webhook
from murmur.client import client as module
from tests.free_port import free_port
from tests.platform import TestPlatform

ROOT = Path(__file__).parents[2]


def test_the_examples_in_docstrings_do_what_they_say(platform: TestPlatform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with platform.client() as client:
        examples = doctest.DocTestFinder().find(module.Client, globs={"client": client})
        runner = doctest.DocTestRunner(verbose=False)
        results = [runner.run(example) for example in examples]
    assert sum(result.attempted for result in results) >= 4
    assert not sum(result.failed for result in results)


def test_a_recording_is_taken_as_path_bytes_and_file_and_its_upload_is_told(platform: TestPlatform) -> None:
    sample = SAMPLES["short"]
    told: list[tuple[int, int | None]] = []
    with platform.client() as client, sample.path.open("rb") as file:
        for audio in (sample.path, str(sample.path), sample.path.read_bytes(), file):
            transcript = client.transcribe(audio, progress=lambda sent, total: told.append((sent, total)))
            assert transcript.text.split() == sample.transcript.split()
    size = sample.path.stat().st_size
    assert max(sent for sent, _ in told) == size
    assert {total for _, total in told} == {size}


def test_refusals_are_told_apart_by_their_class(platform: TestPlatform) -> None:
    with platform.client() as client:
        with pytest.raises(BadRequest):
            client.transcribe(b"dear all")
        with pytest.raises(NotFound):
            client.job("nope")
        job = client.submit(SAMPLES["long"].path.read_bytes() + b"to be canceled")
        client.cancel(job.id)
        with pytest.raises(JobCanceled):
            list(client.stream(job))
    with Client(f"http://127.0.0.1:{free_port()}", patience_s=0.3) as nobody, pytest.raises(Unreachable):
        nobody.jobs()
    assert issubclass(JobCanceled, MurmurError)


def test_the_async_client_does_the_same(platform: TestPlatform) -> None:
    sample = SAMPLES["short"]

    async def use() -> None:
        async with AsyncClient(platform.url) as client:
            transcript = await client.transcribe(sample.path, language="en", word_timestamps=True)
            assert transcript.text.split() == sample.transcript.split()
            assert transcript.segments[0].words
            streamed = [segment.text async for segment in client.stream(sample.path, language="en")]
            assert "".join(streamed).split() == sample.transcript.split()
            job = (await client.jobs(limit=1)).jobs[0]
            assert (await client.result(job.id, "srt")).startswith("1\n")
            assert await client.ready()
            with pytest.raises(NotFound):
                await client.job("nope")

    asyncio.run(use())


def test_both_clients_have_the_same_methods() -> None:
    def public(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert public(Client) == public(AsyncClient)


def test_the_version_is_that_of_the_project_and_types_are_marked() -> None:
    assert f'version = "{murmur.__version__}"' in (ROOT / "pyproject.toml").read_text()
    assert (ROOT / "murmur" / "py.typed").exists()


def test_a_webhook_is_verified() -> None:
    key = os.urandom(24)
    secret = "whsec_" + base64.b64encode(key).decode()
    body, now = b'{"type":"job.completed"}', int(time.time())
    signature = base64.b64encode(hmac.new(key, f"m.{now}.".encode() + body, hashlib.sha256).digest()).decode()
    headers = {"Webhook-Id": "m", "Webhook-Timestamp": str(now), "Webhook-Signature": f"v1,AAAA v1,{signature}"}
    assert verify_webhook(body, headers, secret)
    assert not verify_webhook(body + b" ", headers, secret)
    assert not verify_webhook(body, headers, "whsec_" + "QUFB" * 8)
    for at in (now - 900, now + 900):
        again = base64.b64encode(hmac.new(key, f"m.{at}.".encode() + body, hashlib.sha256).digest()).decode()
        told = {**headers, "Webhook-Timestamp": str(at), "Webhook-Signature": f"v1,{again}"}
        assert not verify_webhook(body, told, secret)
    assert not verify_webhook(body, {}, secret)
