"""The OpenAI server's clients: base64 in JSON on OpenAI's paths, chats with a recording in them, a look at a file."""

import base64
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from demo import SAMPLES
from tests import audio_files
from tests.live_api import live_api
from tests.platform import TestPlatform
from transcription.media.codecs.decode import decode
from transcription.settings import Api

MP3 = SAMPLES["mp3"]
AUDIO = base64.b64encode(MP3.path.read_bytes()).decode()
TRANSCRIPTIONS, CHAT, INFO = "/v1/audio/transcriptions", "/v1/chat/completions", "/debug/audio-info"


@pytest.fixture(scope="module")
def http(platform: TestPlatform) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=platform.url, timeout=60) as client:
        yield client


@pytest.mark.parametrize("model", ["whisper-1", "whisper-tiny", "whisper-small", "whisper-medium", "whisper-large"])
def test_json_with_base64_is_transcribed_by_every_documented_model(http: httpx.Client, model: str) -> None:
    answer = http.post(TRANSCRIPTIONS, json={"audio": AUDIO, "model": model, "language": "auto"})
    assert answer.status_code == 200
    assert set(answer.json()) == {"text", "processing_time", "model", "format"}
    assert answer.json()["text"].split() == MP3.transcript.split()
    assert answer.json()["processing_time"] > 0
    assert (answer.json()["model"], answer.json()["format"]) == (model, "mp3")


def test_a_recording_too_quiet_to_be_heard_is_transcribed_after_normalizing(http: httpx.Client) -> None:
    samples = decode(SAMPLES["short"].path, limit_s=100) / 1000
    recording = {"audio": base64.b64encode(audio_files.recording(samples)).decode(), "model": "whisper-1"}
    assert http.post(TRANSCRIPTIONS, json=recording).json()["text"] == ""
    for asked in (
        http.post(TRANSCRIPTIONS, json={**recording, "normalize": True}),
        http.post(CHAT, json={**recording, "normalize": True}),
    ):
        heard, said = asked.json()["text"].split(), SAMPLES["short"].transcript.split()
        assert SequenceMatcher(None, heard, said).ratio() > 0.7, heard


@pytest.mark.parametrize(
    ("recording", "format_"),
    [
        (audio_files.wav(0.5), "wav"),
        (audio_files.encoded("ipod", "aac"), "m4a"),
        (audio_files.encoded("ogg", "libopus", rate=48_000), "ogg"),
        (audio_files.encoded("webm", "libopus", rate=48_000), "webm"),
        (audio_files.encoded("flac", "flac"), "flac"),
        (audio_files.encoded("adts", "aac"), "aac"),
        (audio_files.video(), "mp4"),
    ],
)
def test_a_look_at_a_file_says_what_it_is(http: httpx.Client, recording: bytes, format_: str) -> None:
    for body in ({"json": {"audio": base64.b64encode(recording).decode()}}, {"files": {"file": ("x", recording)}}):
        info = http.post(INFO, **body).json()
        assert info["format"] == format_
        assert info["size_bytes"] == len(recording)
        assert info["channels"] == 1
        assert info["sample_rate"] in {16_000, 48_000}
        assert info["duration"] == pytest.approx(1.0, abs=0.6)
        assert info["codec"]
        assert info["container"]


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        ({"json": {"audio": "not base64!"}}, 400, "bad_base64"),
        ({"json": {"model": "whisper-1"}}, 400, "missing_file"),
        ({"files": {"audio": ("a.wav", b"x")}}, 400, "missing_file"),
        ({"json": {"url": "http://127.0.0.1/a.wav"}}, 400, "url_not_allowed"),
        ({"files": {"file": ("a.mp3", audio_files.text())}}, 400, "unsupported_media"),
        ({"files": {"file": ("a.mp4", audio_files.video(sound=False))}}, 400, "no_audio_stream"),
    ],
)
def test_a_look_at_what_is_no_recording_says_why(
    http: httpx.Client, request_: dict[str, Any], status: int, code: str
) -> None:
    answer = http.post(INFO, **request_)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_the_openai_client_chats_about_a_recording(platform: TestPlatform) -> None:
    part: Any = {"type": "input_audio", "input_audio": {"data": AUDIO, "format": "mp3"}}
    question: Any = {"type": "text", "text": "What is said here?"}
    with OpenAI(base_url=f"{platform.url}/v1", api_key="unused", max_retries=0) as client:
        answer = client.chat.completions.create(
            model="whisper-1", messages=[{"role": "user", "content": [question, part]}], temperature=1
        )
    assert answer.object == "chat.completion"
    assert answer.model == "whisper-1"
    (choice,) = answer.choices
    assert (choice.message.role, choice.finish_reason) == ("assistant", "stop")
    assert (choice.message.content or "").split() == MP3.transcript.split()
    assert answer.usage is not None
    assert answer.usage.total_tokens > 0


def test_a_chat_can_be_streamed(platform: TestPlatform) -> None:
    part: Any = {"type": "input_audio", "input_audio": {"data": AUDIO, "format": "mp3"}}
    with OpenAI(base_url=f"{platform.url}/v1", api_key="unused", max_retries=0) as client:
        chunks = list(
            client.chat.completions.create(
                model="whisper-1", messages=[{"role": "user", "content": [part]}], stream=True
            )
        )
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1
    choices = [chunk.choices[0] for chunk in chunks]
    assert choices[0].delta.role == "assistant"
    assert [choice.finish_reason for choice in choices] == [None] * (len(choices) - 1) + ["stop"]
    assert "".join(choice.delta.content or "" for choice in choices).split() == MP3.transcript.split()


def test_a_chat_in_the_transcription_s_own_form_has_both_answers(http: httpx.Client) -> None:
    answer = http.post(CHAT, json={"audio": AUDIO, "model": "whisper-1", "language": "en"}).json()
    assert answer["choices"][0]["message"]["content"] == answer["text"]
    assert answer["text"].split() == MP3.transcript.split()
    assert (answer["model"], answer["format"]) == ("whisper-1", "mp3")
    assert answer["processing_time"] > 0


def chat(data: str, **more: Any) -> dict[str, Any]:
    audio = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    return {"model": "whisper-1", "messages": [{"role": "user", "content": [audio]}], **more}


@pytest.mark.parametrize("path", [TRANSCRIPTIONS, CHAT])
@pytest.mark.parametrize(
    ("wrong", "status", "code"),
    [
        ({"model": "no-such-model"}, 404, "model_not_found"),
        ({"language": "xx"}, 400, "invalid_language_format"),
        ({"temperature": 7}, 400, "invalid_option"),
        ({"audio": "not base64!"}, 400, "bad_base64"),
        ({"audio": AUDIO[:-3]}, 400, "bad_base64"),
        ({"audio": ""}, 400, "empty_file"),
        ({"audio": None}, 400, "missing_file"),
        ({"audio": base64.b64encode(b"no audio" * 200).decode()}, 400, "unsupported_media"),
    ],
)
def test_a_mistake_has_openai_s_body(
    http: httpx.Client, path: str, wrong: dict[str, Any], status: int, code: str
) -> None:
    answer = http.post(path, json={"audio": AUDIO, "model": "whisper-1", **wrong})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_an_unknown_format_name_is_refused(http: httpx.Client) -> None:
    answer = http.post(TRANSCRIPTIONS, json={"audio": AUDIO, "response_format": "yaml"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "response_format")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (chat("not base64!"), "bad_base64"),
        (chat(AUDIO, stream="perhaps"), "invalid_option"),
        ({"model": "whisper-1", "messages": [{"role": "user", "content": "Hello!"}]}, "missing_file"),
        ({"model": "whisper-1"}, "missing_file"),
        (chat(AUDIO) | {"audio": AUDIO}, "too_many_files"),
    ],
)
def test_a_chat_that_cannot_be_answered_says_why(platform: TestPlatform, body: dict[str, Any], code: str) -> None:
    with OpenAI(base_url=f"{platform.url}/v1", api_key="unused", max_retries=0) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            client.post("/chat/completions", body=body, cast_to=httpx.Response)
        assert caught.value.code == code


def test_a_form_where_json_belongs_is_refused(http: httpx.Client) -> None:
    answer = http.post(CHAT, data={"audio": "x"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "missing_file")
    answer = http.post(CHAT, content=b"{", headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "malformed_request")


def test_a_page_of_an_allowed_origin_may_call_and_others_may_not(platform: TestPlatform) -> None:
    api = Api(cors_origins=("http://localhost:3000",), trusted_hosts=("127.0.0.1",))
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    with live_api(platform.settings.model_copy(update={"api": api})) as http:
        allowed = http.options(TRANSCRIPTIONS, headers={"Origin": "http://localhost:3000", **ask})
        assert allowed.headers["access-control-allow-origin"] == "http://localhost:3000"
        refused = http.options(TRANSCRIPTIONS, headers={"Origin": "http://elsewhere.example", **ask})
        assert "access-control-allow-origin" not in refused.headers
        assert http.get("/health", headers={"Host": "elsewhere.example"}).status_code == 400
        assert http.get("/health").status_code == 200


def test_without_the_setting_no_other_origin_may_call(http: httpx.Client) -> None:
    answer = http.get("/health", headers={"Origin": "http://localhost:3000"})
    assert "access-control-allow-origin" not in answer.headers
