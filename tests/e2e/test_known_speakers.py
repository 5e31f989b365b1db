"""Known speakers on a real platform: two are recognized by samples of their voices, a third stays a stranger."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from typer.testing import CliRunner

from murmur.cli.main import app
from tests.platform import TestPlatform, eventually, fresh_stats
from tests.recordings_of_speakers import MOMENTS, WHO, conversation, samples, wav

DIARIZED: dict[str, Any] = {"model": "gpt-4o-transcribe-diarize", "response_format": "diarized_json"}


@pytest.fixture(scope="module")
def recording() -> bytes:
    return wav(conversation())


@pytest.fixture(scope="module")
def known() -> dict[str, bytes]:
    return {name: wav(sample) for name, sample in samples().items()}


@pytest.fixture(scope="module")
def client(platform: TestPlatform) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{platform.url}/v1", api_key="unused", max_retries=0, timeout=60) as client:
        yield client


def url(sample: bytes) -> str:
    return f"data:audio/wav;base64,{base64.b64encode(sample).decode()}"


def test_openai_s_client_hears_who_is_known(client: openai.OpenAI, recording: bytes, known: dict[str, bytes]) -> None:
    answer = client.audio.transcriptions.create(
        file=("talk.wav", recording),
        known_speaker_names=list(known),
        known_speaker_references=[url(sample) for sample in known.values()],
        **DIARIZED,
    )
    said = [next(one.speaker for one in answer.segments if one.start <= moment < one.end) for moment in MOMENTS]
    assert said == WHO


def test_stream_says_the_known_names_too(client: openai.OpenAI, recording: bytes, known: dict[str, bytes]) -> None:
    events = client.audio.transcriptions.create(
        file=("talk.wav", recording),
        known_speaker_names=["Anna"],
        known_speaker_references=[url(known["Anna"])],
        stream=True,
        **DIARIZED,
    )
    assert {event.speaker for event in events if event.type == "transcript.text.segment"} == {"Anna", "B", "C"}


def test_samples_change_neither_what_is_computed_of_the_recording_nor_what_others_read(
    platform: TestPlatform, recording: bytes, known: dict[str, bytes], tmp_path: Path
) -> None:
    with platform.client() as client:
        plain = client.wait(client.submit(recording, diarize=True).id, seconds=20)
        before = fresh_stats(client)["counters"]["audio_ms"]
        (sample := tmp_path / "nina.wav").write_bytes(known["Bob"])
        job = client.submit(recording, diarize=True, known_speakers={"Nina": sample, "Ann": known["Anna"]})
        client.wait(job.id, seconds=20)
        assert fresh_stats(client)["counters"]["audio_ms"] == before
        assert {"Ann: ", "Nina: "} <= {
            line[: line.find(" ") + 1] for line in client.result(job.id, "text").splitlines()
        }
        assert "Nina" not in client.result(plain.id, "text")
        client.name_speakers(job.id, {"B": "Bert"})
        assert "Bert: " in client.result(job.id, "text")


def test_command_line_takes_samples_as_files(
    platform: TestPlatform, recording: bytes, known: dict[str, bytes], tmp_path: Path
) -> None:
    (talk := tmp_path / "talk.wav").write_bytes(recording)
    (sample := tmp_path / "anna.wav").write_bytes(known["Anna"])
    command = ["transcribe", str(talk), "--known-speaker", f"Anna={sample}", "--url", platform.url]
    assert "Anna: " in CliRunner().invoke(app, command).stdout
    missing = CliRunner().invoke(app, [*command[:2], "--known-speaker", f"Anna={tmp_path}/none.wav"])
    assert missing.exit_code != 0


def test_sample_in_which_nobody_speaks_fails_the_job_with_its_name(platform: TestPlatform, recording: bytes) -> None:
    noise = wav(0 * samples()["Anna"] + 0.02)  # not silent, so that only a worker hears it
    files = {"file": recording, "known_speakers[Nobody]": noise}
    job = httpx.post(f"{platform.url}/v1/jobs", files=files, data={"diarize": "true"}).json()
    now = eventually(lambda: (found := httpx.get(f"{platform.url}/v1/jobs/{job['id']}").json())["error"] and found)
    assert now["error"]["code"] == "reference_without_speech"
    assert "Nobody" in now["error"]["message"]


def test_sample_in_which_nobody_speaks_is_openai_s_bad_request(client: openai.OpenAI, recording: bytes) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.transcriptions.create(
            file=("talk.wav", recording),
            known_speaker_names=["Nobody"],
            known_speaker_references=[url(wav(0 * samples()["Anna"] + 0.02))],
            **DIARIZED,
        )
    assert (caught.value.code, caught.value.param) == ("reference_without_speech", "known_speaker_references")
