"""What clients send though no page says so: slashes too many, HEAD, languages by name, lists as text, data URLs."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests import audio_files
from tests.api_client import Bench
from transcription.errors import BadBase64
from transcription.formats import as_verbose_json
from transcription.job import Failure, Status
from transcription.options import parse_options
from transcription.result_warning import ResultWarning, WarningCode
from transcription.transcript import Transcript

pytestmark = pytest.mark.anyio

GOOD = audio_files.wav(0.3)
FILE = {"file": ("a.wav", GOOD)}


async def test_head_is_answered_as_get_without_the_body(api: Bench) -> None:
    job = (await api.http.post("/v1/jobs", files=FILE)).json()["id"]
    for path in ("/health", "/v1/models", "/v1/jobs", f"/v1/jobs/{job}", "/stats", "/metrics", "/openapi.json"):
        got, head = await api.http.get(path), await api.http.head(path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        assert head.headers["content-type"] == got.headers["content-type"]
    assert (await api.http.head("/v1/jobs/unknown")).status_code == 404
    assert (await api.http.head("/v1/audio/transcriptions")).status_code == 405


@pytest.mark.parametrize("path", ["/v1/jobs/", "//v1/jobs", "/v1//jobs", "/v1//jobs//"])
async def test_slashes_too_many_do_no_harm(api: Bench, path: str) -> None:
    assert (await api.http.get(f"http://localhost{path}")).status_code == 200
    answer = await api.http.post(f"http://localhost{path}", files=FILE)
    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("en-US", "en"), ("English", "en"), ("eng", "en"), ("nb", "no"), ("nob", "no"), ("zh_Hant_TW", "zh"),
        ("ger", "de"), ("Deutsch", None), ("Auto", ""), ("AUTO", ""), ("null", ""), ("None", ""), ("pt-br", "pt"),
    ],
)  # fmt: skip
async def test_languages_are_known_by_their_codes_tags_and_names(api: Bench, said: str, code: str | None) -> None:
    answer = await api.http.post("/v1/jobs", files=FILE, data={"language": said})
    if code is None:
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_option")
    else:
        assert (answer.status_code, answer.json()["language"]) == (202, code or None)


@pytest.mark.parametrize(
    "fields",
    [
        {"timestamp_granularities": "['word']"},
        {"timestamp_granularities": '["word"]'},
        {"timestamp_granularities": '["segment", "word"]'},
        {"timestamp_granularities[0]": "word"},
        {"timestamp_granularities[]": "word"},
        {"timestamp_granularities": "Word"},
        {"timestamp_granularities": "segment,word"},
    ],
)
async def test_lists_are_understood_as_clients_write_them(api: Bench, fields: dict[str, str]) -> None:
    answer = await api.http.post("/v1/jobs", files=FILE, data=fields)
    assert answer.status_code == 202, answer.text
    assert "word" in answer.json()["options"]["timestamp_granularities"]


async def test_fields_that_a_browser_sends_empty_are_as_if_it_had_not_sent_them(api: Bench) -> None:
    empty = {"language": "", "model": " ", "temperature": "", "ttl_s": "", "webhook_url": "", "num_speakers": ""}
    answer = await api.http.post("/v1/jobs", files=FILE, data={**empty, "prompt": "Anna"})
    assert answer.status_code == 202, answer.text
    plain = await api.http.post("/v1/jobs", files=FILE, data={"prompt": "Anna"})
    assert answer.json()["options"] == plain.json()["options"]


async def test_a_data_url_is_base64_however_it_is_cut(api: Bench) -> None:
    text = "data:audio/wav;base64," + base64.b64encode(GOOD).decode()
    body = json.dumps({"audio": text}).replace("/", "\\/").encode()

    async def trickle(size: int) -> AsyncIterator[bytes]:
        for at in range(0, len(body), size):
            yield body[at : at + size]

    for size in (1, 3, 7, len(body)):
        answer = await api.http.post("/v1/jobs", content=trickle(size), headers={"content-type": "application/json"})
        assert answer.status_code == 202, answer.text
    assert len({submission.audio.sha256 for submission in api.jobs.submissions}) == 1
    for bad in ("data:audio/wav," + "AAAA", "data:" + "x" * 400, "data:audio/wav;base64"):
        answer = await api.http.post("/v1/jobs", json={"audio": bad})
        assert (answer.status_code, answer.json()["code"]) == (400, BadBase64.code), bad


async def test_options_in_the_query_beside_json_are_taken_or_refused(api: Bench) -> None:
    body = {"audio": base64.b64encode(GOOD).decode()}
    taken = await api.http.post("/v1/jobs?language=de&priority=batch", json=body)
    assert (taken.status_code, taken.json()["language"]) == (202, "de")
    assert taken.json()["options"]["priority"] == "batch"
    unknown = await api.http.post("/v1/jobs?langauge=de", json=body)
    assert (unknown.status_code, unknown.json()["code"]) == (422, "unknown_option")
    twice = await api.http.post("/v1/jobs?language=de", json={**body, "language": "en"})
    assert (twice.status_code, twice.json()["code"]) == (400, "malformed_request")


async def test_a_file_that_fails_in_the_worker_is_the_clients_fault_in_a_stream_too(api: Bench) -> None:
    asked = asyncio.ensure_future(
        api.http.post("/v1/audio/transcriptions", files=FILE, data={"model": "whisper-1", "stream": "true"})
    )
    await api.jobs.accepted.wait()
    (job,) = api.jobs.jobs
    failure = Failure(code="corrupt_audio", message="nothing of it can be decoded")
    api.jobs.finish(job, status=Status.FAILED, failure=failure)
    last = (await asked).text.strip().rpartition("data: ")[2]
    assert json.loads(last)["error"]["type"] == "invalid_request_error"


def test_verbose_json_of_silence_has_words_when_they_were_asked_for_and_the_language() -> None:
    silence = Transcript(
        segments=(), language="de", language_probability=None, duration=3, task="transcribe", model="demo", words=True
    )
    assert as_verbose_json(silence)["words"] == []
    assert as_verbose_json(silence)["language"] == "german"
    assert "words" not in as_verbose_json(replace(silence, words=False))
    assert parse_options({"language": as_verbose_json(silence)["language"]}).language == "de"


async def test_a_job_that_lacks_something_says_so_in_every_answer(api: Bench) -> None:
    answer = await api.http.post("/v1/jobs", files=FILE)
    job = answer.json()["id"]
    warning = ResultWarning(code=WarningCode.DAMAGED, message="a hole", start=1.0, seconds=2.0)
    api.jobs.finish(job, warnings=(warning,))
    shape = {"code": "damaged", "message": "a hole", "start": 1.0, "seconds": 2.0, "count": 1}
    assert (await api.http.get(f"/v1/jobs/{job}")).json()["warnings"] == [shape]
    for form in ("json", "verbose_json", "text", "srt", "vtt", "tsv"):
        result = await api.http.get(f"/v1/jobs/{job}/result", params={"format": form})
        assert result.headers["murmur-warnings"] == "damaged", form
        if "json" in form:
            assert result.json()["warnings"] == [shape]
        if form == "vtt":
            assert "\nNOTE warning: damaged at 1.0 s: a hole\n" in result.text
