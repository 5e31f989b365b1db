"""Bad input: each kind has its status and code, and leaves nothing behind."""

import base64
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api.uploads.form import MAX_FIELDS_BYTES
from tests import audio_files
from tests.api_client import Bench, bench
from tests.memory_jobs import WORKER
from transcription.errors import MurmurationError, leaves

pytestmark = pytest.mark.anyio

GOOD = audio_files.wav(0.2)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path, max_upload_bytes=200_000, max_duration_s=60) as running:
        yield running


def form(*parts: tuple[str, Any]) -> dict[str, Any]:
    return {"files": list(parts)}


def text(name: str, value: str) -> tuple[str, Any]:
    return (name, (None, value))


def raw(body: bytes, kind: str = "audio/mpeg", **query: str) -> dict[str, Any]:
    return {"content": body, "headers": {"content-type": kind}, "params": query}


BOUNDARY = {"content-type": "multipart/form-data; boundary=XX"}
PART = b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'

CASES: dict[str, tuple[Callable[[], dict[str, Any]], int, str, str]] = {
    "empty file": (lambda: form(("file", ("a.mp3", b""))), 400, "empty_file", "'a.mp3' has no bytes"),
    "empty body": (lambda: raw(b""), 400, "empty_file", "has no bytes"),
    "text named mp3": (lambda: form(("file", ("a.mp3", audio_files.text()))), 415, "unsupported_media", "content"),
    "playlist": (
        lambda: form(("file", ("a.m3u8", audio_files.playlist("/etc/passwd")))),
        415,
        "unsupported_media",
        "content",
    ),
    "header of an mp4 alone": (
        lambda: form(("file", ("a.m4a", audio_files.encoded("ipod", "aac", seconds=3)[:-3000]))),
        422,
        "index_missing",
        "before its index",
    ),
    "video without sound": (
        lambda: form(("file", ("a.mp4", audio_files.video(sound=False)))),
        422,
        "no_audio_stream",
        "it has video",
    ),
    "sound without samples": (lambda: form(("file", ("a.wav", audio_files.wav(0)))), 422, "no_samples", "no sound"),
    "too long": (
        lambda: form(("file", ("a.wav", audio_files.wav(62, rate=1600)))),
        422,
        "too_long",
        "the limit is 60 s (MURMUR_LIMITS__MAX_DURATION_S)",
    ),
    "wrong field name": (lambda: form(("audio", ("a.wav", GOOD))), 400, "missing_file", "no field 'file'; got 'audio'"),
    "only options": (
        lambda: form(text("language", "en"), text("model", "demo")),
        400,
        "missing_file",
        "no field 'file'; got 'language', 'model'",
    ),
    "text in the file field": (lambda: form(text("file", "talk.wav")), 400, "missing_file", "holds text, not a file"),
    "form without parts": (
        lambda: {"content": b"--XX--\r\n", "headers": BOUNDARY},
        400,
        "missing_file",
        "got no field at all",
    ),
    "two files": (
        lambda: form(("file", ("a.wav", GOOD)), ("file", ("b.wav", GOOD))),
        400,
        "too_many_files",
        "second file came, in field 'file'",
    ),
    "two files by two names": (
        lambda: form(("file", ("a.wav", GOOD)), ("other", ("b.wav", GOOD))),
        400,
        "too_many_files",
        "in field 'other'",
    ),
    "unknown option": (
        lambda: form(("file", ("a.wav", GOOD)), text("lnaguage", "en")),
        422,
        "unknown_option",
        "unknown option 'lnaguage'",
    ),
    "unknown option in the query": (lambda: raw(GOOD, speed="2"), 422, "unknown_option", "'speed'"),
    "option out of range": (
        lambda: form(("file", ("a.wav", GOOD)), text("temperature", "7")),
        422,
        "invalid_option",
        "temperature",
    ),
    "unknown language": (
        lambda: raw(GOOD, language="xx"),
        422,
        "invalid_option",
        "'xx' is no language",
    ),
    "option twice": (
        lambda: form(("file", ("a.wav", GOOD)), text("model", "demo"), text("model", "base")),
        400,
        "malformed_request",
        "'model' was sent twice",
    ),
    "model that isn't served": (lambda: raw(GOOD, model="gigantic"), 422, "model_not_served", "'gigantic'"),
    "option that isn't UTF-8": (
        lambda: form(("file", ("a.wav", GOOD)), ("prompt", (None, b"\xff\xfe"))),
        400,
        "malformed_request",
        "isn't UTF-8",
    ),
    "endless option": (
        lambda: form(("file", ("a.wav", GOOD)), text("prompt", "x" * (MAX_FIELDS_BYTES + 1))),
        400,
        "malformed_request",
        f"longer than {MAX_FIELDS_BYTES} bytes",
    ),
    "hundreds of options": (
        lambda: form(*(text(f"x{n}", "1") for n in range(200))),
        400,
        "malformed_request",
        "more than 64 fields",
    ),
    "form without its end": (
        lambda: {"content": PART + GOOD, "headers": BOUNDARY},
        400,
        "malformed_request",
        "closing boundary never came",
    ),
    "form without a boundary": (
        lambda: {"content": GOOD, "headers": {"content-type": "multipart/form-data"}},
        400,
        "malformed_request",
        "boundary",
    ),
    "form that is none": (
        lambda: {"content": GOOD, "headers": BOUNDARY},
        400,
        "malformed_request",
        "no multipart form",
    ),
    "boundary that nobody has": (
        lambda: {"content": GOOD, "headers": {"content-type": f"multipart/form-data; boundary={'x' * 300}"}},
        400,
        "malformed_request",
        "boundary",
    ),
    "nameless part": (
        lambda: {"content": b"--XX\r\nContent-Type: audio/wav\r\n\r\nabc\r\n--XX--", "headers": BOUNDARY},
        400,
        "malformed_request",
        "no name",
    ),
    "form that can't bring files": (lambda: {"data": {"file": "x"}}, 400, "missing_file", "multipart/form-data"),
    "body of another kind": (lambda: raw(b"hello", "text/plain"), 415, "unsupported_media", "'text/plain'"),
    "body of no kind": (lambda: {"content": b"hello"}, 415, "unsupported_media", "send multipart/form-data"),
    "JSON that is none": (lambda: raw(b'{"audio": ', "application/json"), 400, "malformed_request", "no JSON"),
    "JSON list": (lambda: {"json": ["audio"]}, 400, "malformed_request", "JSON object"),
    "JSON without audio": (lambda: {"json": {"sound": "x"}}, 400, "missing_file", "got 'sound'"),
    "JSON with broken base64": (lambda: {"json": {"audio": "%%%%"}}, 400, "bad_base64", "RFC 4648"),
    "JSON with half of base64": (lambda: {"json": {"audio": "UklGR"}}, 400, "bad_base64", "RFC 4648"),
    "JSON with a number for audio": (lambda: {"json": {"audio": 7}}, 400, "bad_base64", "one base64 string"),
    "JSON with no bytes": (lambda: {"json": {"audio": ""}}, 400, "empty_file", "has no bytes"),
    "JSON with text for audio": (
        lambda: {"json": {"audio": base64.b64encode(audio_files.text()).decode()}},
        415,
        "unsupported_media",
        "content",
    ),
    "JSON with two audios": (
        lambda: raw(b'{"audio": "UklG", "audio": "UklG"}', "application/json"),
        400,
        "too_many_files",
        "came twice",
    ),
    "JSON with much besides": (
        lambda: {"json": {"a": "x" * 70_000, "audio": "UklG"}},
        400,
        "malformed_request",
        "besides",
    ),
    "JSON with an unknown option": (
        lambda: {"json": {"audio": base64.b64encode(GOOD).decode(), "speed": 2}},
        422,
        "unknown_option",
        "'speed'",
    ),
    "JSON with a recording and a URL": (
        lambda: {"json": {"audio": base64.b64encode(GOOD).decode(), "url": "https://example.com/a.mp3"}},
        400,
        "malformed_request",
        "both 'audio' and 'url' came",
    ),
    "JSON with a URL": (lambda: {"json": {"url": "http://10.0.0.1/a.mp3"}}, 422, "url_not_allowed", "open internet"),
    "too large by its header": (
        lambda: form(("file", ("a.wav", b"x" * 600_000))),
        413,
        "too_large",
        "the limit is 200000 bytes (MURMUR_LIMITS__MAX_UPLOAD_BYTES)",
    ),
    "too large by a little": (lambda: form(("file", ("a.wav", b"x" * 200_001))), 413, "too_large", "the limit is"),
    "Content-Length that is none": (
        lambda: {"content": GOOD, "headers": {"content-type": "audio/wav", "content-length": "-5"}},
        400,
        "malformed_request",
        "Content-Length",
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_bad_input_is_refused_with_its_code_and_leaves_nothing(api: Bench, case: str) -> None:
    request, status, code, said = CASES[case]
    answer = await api.http.post("/v1/jobs", **request())
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), problem
    assert said in problem["detail"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == status
    assert problem["type"] == f"urn:murmur:error:{code}"
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert api.leftovers() == []
    assert api.jobs.jobs == {}
    assert api.queue.hints == 0
    counted = (await api.http.get("/metrics")).text
    assert f'murmur_rejects_total{{code="{code}"}} 1.0' in counted


@pytest.mark.parametrize(
    ("said", "options"),
    [
        ("language: de", {"language": "de"}),
        ("languages: de, fr", {"languages": "de,fr", "model": "whisper-1"}),
        ("language: de", {"language": "de", "multilingual": "true"}),
        ("task: translate", {"task": "translate", "language": "en"}),
    ],
)
async def test_a_model_of_english_is_asked_for_nothing_else(api: Bench, said: str, options: dict[str, str]) -> None:
    api.jobs.workers = (replace(WORKER, models=("base.en",)),)
    answer = await api.submit(GOOD, **options)
    assert (answer.status_code, answer.json().get("code")) == (422, "invalid_option")
    assert answer.json()["detail"].startswith(f"{said}: model 'base.en' transcribes English and nothing else")
    assert (api.jobs.jobs, api.leftovers()) == ({}, [])


async def test_a_model_of_english_takes_what_is_or_may_be_english_and_translates_for_no_dialect(api: Bench) -> None:
    api.jobs.workers = (replace(WORKER, models=("base.en",)),)
    translated = await api.http.post("/v1/audio/translations", files={"file": ("talk.wav", GOOD)})
    assert (translated.status_code, "'base.en'" in translated.text) == (400, True)
    spoken: list[dict[str, str]] = [{}, {"language": "en"}, {"languages": "de,en"}]
    assert [(await api.submit(GOOD, **options)).status_code for options in spoken] == [202, 202, 202]


async def test_what_can_be_no_dead_letter_s_name_never_becomes_part_of_a_key(
    api: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(api.jobs, "dead_letter", asked.append)
    for name in ("abc:jobs", "abc%3Ajobs", "a" * 65, "%C3%A4", "*", "a%20b"):
        answer = await api.http.get(f"/admin/dead/{name}")
        assert (answer.status_code, answer.json()["code"]) == (404, "dead_letter_not_found"), name
    assert asked == []


async def test_body_without_a_length_is_refused_while_it_streams(api: Bench) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 100_000_000:
            sent += 65_536
            yield b"x" * 65_536

    answer = await api.http.post("/v1/jobs", content=endless(), headers={"content-type": "audio/wav"})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert sent < 1_000_000
    assert api.leftovers() == []


ACCEPTED: dict[str, Callable[[], bytes]] = {
    "truncated mp3": lambda: audio_files.mp3(3)[:9000],
    "silence": lambda: audio_files.wav(2, hertz=0),
    "a tenth of a second": lambda: audio_files.wav(0.1),
    "8 kHz mono": lambda: audio_files.wav(rate=8000),
    "96 kHz stereo": lambda: audio_files.wav(0.5, rate=96_000, channels=2)[:190_000],
    "flac": lambda: audio_files.encoded("flac", "flac"),
    "ogg opus": lambda: audio_files.encoded("ogg", "libopus", rate=48_000),
    "webm": lambda: audio_files.encoded("webm", "libopus", rate=48_000),
    "m4a": lambda: audio_files.encoded("ipod", "aac"),
    "aac": lambda: audio_files.encoded("adts", "aac"),
    "wma": lambda: audio_files.encoded("asf", "wmav2", rate=44_100),
    "mp4": audio_files.video,
    "avi": lambda: audio_files.video(container="avi"),
    "mov": lambda: audio_files.video(container="mov"),
    "mkv": lambda: audio_files.video(container="matroska"),
}


@pytest.mark.parametrize("case", ACCEPTED)
async def test_audio_is_taken_by_its_content_whatever_its_name(api: Bench, case: str) -> None:
    answer = await api.submit(ACCEPTED[case](), name="notes.txt")
    assert answer.status_code == 202, answer.text
    assert len(api.leftovers()) == 1
    assert api.jobs.submissions[0].audio.duration_s >= 0


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\talk.mp3", "talk.mp3"),
        ("a\u202egpj.mp3", "agpj.mp3"),
        ("..", "audio"),
        ("ж" * 4000 + ".mp3", "ж" * 125 + ".mp3"),
        ("C:\\" + "Users\\" * 400 + "talk.mp3", "talk.mp3"),
        ("r\u00e9union \u2014 1.mp3", "r\u00e9union \u2014 1.mp3"),
    ],
)
async def test_file_names_are_made_safe(api: Bench, name: str, kept: str) -> None:
    body = PART.replace(b"a.wav", name.encode()) + GOOD + b"\r\n--XX--\r\n"
    if len(name) > 2000:  # more than a part's header may have
        answer = await api.http.post(
            "/v1/jobs", params={"filename": name}, **{k: v for k, v in raw(GOOD).items() if k != "params"}
        )
    else:
        answer = await api.http.post("/v1/jobs", content=body, headers=BOUNDARY)
    assert answer.status_code == 202, answer.text
    assert answer.json()["audio"]["filename"] == kept
    assert len(kept.encode()) <= 255


def test_every_error_has_a_status() -> None:
    from api.problems import STATUSES

    assert set(STATUSES) == set(leaves(MurmurationError))
    assert all(400 <= status < 600 for status in STATUSES.values())
