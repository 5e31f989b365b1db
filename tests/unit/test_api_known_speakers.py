"""Known speakers over HTTP: the forms in which samples come, and what is refused, with real codecs in their sandbox."""

import base64
import json
import re
from collections.abc import AsyncIterator

import httpx
import pytest

from tests import audio_files
from tests.api_client import Bench, bench

pytestmark = pytest.mark.anyio

ANNA, BOB = audio_files.wav(3.0, hertz=220), audio_files.wav(4.0, hertz=330)
RECORDING = audio_files.wav(1.0)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    async with bench(tmp_path_factory.mktemp("known")) as running:
        yield running


@pytest.fixture
def api(platform: Bench) -> Bench:
    platform.jobs.submissions.clear()
    return platform


def url(content: bytes, kind: str = "audio/wav") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


async def openai(api: Bench, names: list[str], samples: list[str], **fields: str) -> httpx.Response:
    """As its client sends it; refused before there is anything to wait for."""
    given = {"model": "gpt-4o-transcribe-diarize", "response_format": "diarized_json", **fields}
    data = {**given, "known_speaker_names[]": names, "known_speaker_references[]": samples}
    return await api.http.post("/v1/audio/transcriptions", files={"file": ("a.wav", RECORDING)}, data=data)


def accepted(api: Bench, answer: httpx.Response) -> list[tuple[str, float]]:
    assert answer.status_code == 202, answer.text
    (submission,) = api.jobs.submissions
    lengths = [round(sample.duration_s, 2) for sample in submission.references]
    assert len({sample.sha256 for sample in submission.references}) == len(lengths)
    return list(zip(submission.options.known_speakers, lengths, strict=True))


async def test_samples_come_as_files_of_a_form(api: Bench) -> None:
    files = {"file": ("a.wav", RECORDING), "known_speakers[Zoë]": ("x.wav", ANNA), "known_speakers[7]": ("y", BOB)}
    answer = await api.http.post("/v1/jobs", files=files, data={"diarize": "true"})
    assert accepted(api, answer) == [("Zoë", 3.0), ("7", 4.0)]
    assert answer.json()["options"]["known_speakers"] == ["Zoë", "7"]


async def test_samples_come_as_data_urls_in_a_form_with_commas_in_names(api: Bench) -> None:
    answer = await api.submit(RECORDING, diarize="true", **{"known_speakers[Smith, Ann]": url(ANNA)})
    assert accepted(api, answer) == [("Smith, Ann", 3.0)]


async def test_samples_come_as_one_object_in_a_form(api: Bench) -> None:
    known = json.dumps({"Anna": url(ANNA), "Bob": url(BOB)})
    assert len(accepted(api, await api.submit(RECORDING, diarize="true", known_speakers=known))) == 2


async def test_samples_come_in_json_and_may_be_longer_than_all_other_fields(api: Bench) -> None:
    body = {"audio": base64.b64encode(RECORDING).decode(), "diarize": True, "known_speakers": {"Anna": url(ANNA)}}
    assert len(url(ANNA)) > 65536
    assert accepted(api, await api.http.post("/v1/jobs", json=body)) == [("Anna", 3.0)]


async def test_sample_may_be_of_any_kind_that_a_recording_may(api: Bench) -> None:
    known = {"Anna": url(audio_files.mp3(3.0)), "Bob": url(audio_files.video(seconds=3.0), "video/mp4")}
    answer = await api.submit(RECORDING, diarize="true", known_speakers=json.dumps(known))
    assert [name for name, _ in accepted(api, answer)] == ["Anna", "Bob"]


@pytest.mark.parametrize(
    ("sample", "code", "why"),
    [
        ("https://example.com/anna.wav", "invalid_reference", "data URL"),
        ("data:audio/wav,abc", "invalid_reference", "data URL"),
        ("data:audio/wav;base64,@@@", "invalid_reference", "base64"),
        ("data:audio/wav;base64,", "invalid_reference", "no bytes"),
        (url(b"Is this a voice? " * 99), "invalid_reference", "can't be used"),
        (url(ANNA[:20]), "invalid_reference", "can't be used"),
        (url(audio_files.wav(1.5)), "invalid_reference", "1.50 s long; it must be 2 to 10 s"),
        (url(audio_files.wav(10.5)), "invalid_reference", "more than 10 s"),
        (url(audio_files.wav(60.0, rate=8000)), "invalid_reference", "can't be used|more than"),
        (url(audio_files.wav(3.0, hertz=0)), "reference_without_speech", "silent"),
        (url(audio_files.video(seconds=3.0, sound=False)), "invalid_reference", "no audio stream"),
    ],
)
async def test_sample_that_cannot_be_used_is_refused_and_named(api: Bench, sample: str, code: str, why: str) -> None:
    before = api.leftovers()
    answer = await api.submit(RECORDING, diarize="true", known_speakers=json.dumps({"Bob": url(BOB), "Anna": sample}))
    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert "'Anna'" in answer.json()["detail"]
    assert re.search(why, answer.json()["detail"])
    assert not api.jobs.submissions
    assert api.leftovers() == before


@pytest.mark.parametrize(
    ("fields", "code", "why"),
    [
        ({"known_speakers": "Anna"}, "malformed_request", "object of names"),
        ({"known_speakers": "[1]"}, "malformed_request", "object of names"),
        ({"known_speakers": json.dumps({"Anna": 7})}, "invalid_reference", "data URL"),
        ({"known_speakers": json.dumps({"Anna": url(ANNA), " Anna ": url(BOB)})}, "invalid_option", "twice"),
        ({"known_speakers": json.dumps({"Anna": url(ANNA), "Bob": url(ANNA)})}, "invalid_reference", "same sample"),
        ({"known_speakers": json.dumps({" ": url(ANNA)})}, "invalid_option", "known_speakers"),
        ({"known_speakers": json.dumps({"x" * 101: url(ANNA)})}, "invalid_option", "known_speakers"),
        ({"known_speakers": json.dumps({"a\nb": url(ANNA)})}, "invalid_option", "known_speakers"),
        ({"known_speakers": json.dumps({"Anna": url(ANNA)}), "diarize": "false"}, "invalid_option", "diarize=true"),
        (
            {"known_speakers": json.dumps({"Anna": url(ANNA), "Bob": url(BOB)}), "max_speakers": "1"},
            "invalid_option",
            "2 speakers are known, but 1 may speak",
        ),
        (
            {"known_speakers": json.dumps({f"s{n}": url(audio_files.wav(2, hertz=200 + n)) for n in range(11)})},
            "invalid_option",
            "known_speakers",
        ),
        ({"num_speakers": "0"}, "invalid_option", "num_speakers"),
    ],
)
async def test_what_makes_no_sense_is_refused(api: Bench, fields: dict[str, str], code: str, why: str) -> None:
    answer = await api.submit(RECORDING, **{"diarize": "true", **fields})
    assert (400 <= answer.status_code < 500, answer.json()["code"]) == (True, code)
    assert why in answer.json()["detail"]
    assert not api.jobs.submissions


async def test_samples_that_are_too_large_are_refused_before_they_are_looked_at(api: Bench) -> None:
    answer = await api.submit(RECORDING, diarize="true", **{"known_speakers[Anna]": "x" * (12 << 20 | 1)})
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")
    files = {"file": ("a.wav", RECORDING), "known_speakers[Anna]": ("x.wav", b"\0" * (4 << 20 | 1))}
    answer = await api.http.post("/v1/jobs", files=files, data={"diarize": "true"})
    assert answer.json()["code"] == "invalid_reference"
    assert f"the limit is {4 << 20}" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("names", "samples", "code", "param"),
    [
        (["Anna", "Bob"], [url(ANNA)], "invalid_option", "known_speaker_references"),
        (["Anna"], [url(ANNA), url(BOB)], "invalid_option", "known_speaker_references"),
        ([], [url(ANNA)], "invalid_option", "known_speaker_references"),
        (list("ABCDE"), [url(ANNA)] * 5, "invalid_option", "known_speaker_names"),
        (["Anna", "Anna"], [url(ANNA), url(BOB)], "invalid_option", "known_speaker_names"),
        (["Anna"], ["anna.wav"], "invalid_reference", "known_speaker_references"),
        (["Anna"], [url(b"no sound")], "invalid_reference", "known_speaker_references"),
        (["Anna"], [url(audio_files.wav(1.0))], "invalid_reference", "known_speaker_references"),
        (["Anna"], [url(audio_files.wav(12.0))], "invalid_reference", "known_speaker_references"),
        (["Anna"], [url(audio_files.wav(3.0, hertz=0))], "reference_without_speech", "known_speaker_references"),
    ],
)
async def test_openai_s_clients_hear_what_is_wrong_with_theirs(
    api: Bench, names: list[str], samples: list[str], code: str, param: str
) -> None:
    answer = await openai(api, names, samples)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (400, code, param)
    assert not api.jobs.submissions


async def test_known_speakers_need_what_tells_speakers_apart(api: Bench) -> None:
    answer = await openai(api, ["Anna"], [url(ANNA)], model="whisper-1", response_format="json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "malformed_request")


async def test_a_form_s_object_of_millions_of_values_is_not_parsed(api: Bench) -> None:
    known = '{"Ann":[' + "[]," * 100_000 + "0]}"
    answer = await api.http.post(
        "/v1/jobs", files={"file": ("a.wav", RECORDING)}, data={"diarize": "true", "known_speakers": known}
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_request")
