"""OpenAI's own Python client against a live platform, with nothing changed but its base URL."""

import socket
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from openai.types.audio import TranscriptionVerbose
from redis import Redis

from demo import DIALOGUE, SAMPLES
from tests import audio_files
from tests.platform import TestPlatform, eventually

SHORT = SAMPLES["short"]
DIARIZED: dict[str, Any] = {"model": "gpt-4o-transcribe-diarize", "response_format": "diarized_json"}
FORMATS = ["json", "text", "srt", "verbose_json", "vtt"]


@pytest.fixture(scope="module")
def client(platform: TestPlatform) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{platform.url}/v1", api_key="unused", max_retries=0, timeout=60) as client:
        yield client


def create(client: OpenAI, **options: Any) -> Any:
    """Transcribe the short sample."""
    return client.audio.transcriptions.create(**{"model": "whisper-1", "file": SHORT.path, **options})


def words(text: str) -> list[str]:
    return text.split()


def test_a_transcription_has_the_text_and_its_usage(client: OpenAI) -> None:
    answer = create(client)
    assert words(answer.text) == words(SHORT.transcript)
    assert answer.usage.type == "duration"
    assert answer.usage.seconds == pytest.approx(SHORT.segments[-1].end, abs=2)


@pytest.mark.parametrize("form", ["text", "srt", "vtt", "tsv"])
def test_every_format_of_text_has_every_segment(client: OpenAI, form: str) -> None:
    text = create(client, response_format=form)
    assert isinstance(text, str)
    for segment in SHORT.segments:
        assert segment.text in text
    assert text.startswith(
        {"text": SHORT.segments[0].text, "srt": "1\n00:00:0", "vtt": "WEBVTT\n", "tsv": "start\t"}[form]
    )


def test_verbose_json_has_segments_and_words_with_times(client: OpenAI) -> None:
    answer = create(client, response_format="verbose_json", timestamp_granularities=["word", "segment"])
    assert isinstance(answer, TranscriptionVerbose)
    assert answer.language == "english"
    assert isinstance(answer.duration, float)
    assert len(answer.segments or []) == len(SHORT.segments)
    for number, segment in enumerate(answer.segments or []):
        assert segment.id == number
        assert 0 <= segment.start < segment.end <= answer.duration + 0.5
        assert segment.tokens
        assert segment.avg_logprob < 0 < segment.compression_ratio
        assert 0 <= segment.no_speech_prob <= 1
    assert [word.word for word in answer.words or []] == words(SHORT.transcript)
    assert all(word.start <= word.end for word in answer.words or [])


def test_without_the_granularity_there_are_no_words(client: OpenAI) -> None:
    assert create(client, response_format="verbose_json").words is None


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_a_translation_is_a_transcription_with_the_other_task(client: OpenAI) -> None:
    answer = client.audio.translations.create(model="whisper-1", file=SAMPLES["german"].path)
    assert isinstance(answer.text, str)
    raw = client.audio.translations.with_raw_response.create(
        model="whisper-1", file=SAMPLES["german"].path, response_format="verbose_json"
    )
    assert raw.http_response.json()["task"] == "translate"


@pytest.mark.parametrize("form", FORMATS)
def test_a_stream_s_deltas_are_the_done_event_s_text(client: OpenAI, form: str) -> None:
    events = list(create(client, stream=True, response_format=form))
    kinds = [event.type for event in events]
    assert kinds[-1] == "transcript.text.done"
    assert set(kinds) == {"transcript.text.delta", "transcript.text.segment", "transcript.text.done"}
    assert "".join(event.delta for event in events if event.type == "transcript.text.delta") == events[-1].text
    assert words(events[-1].text) == words(SHORT.transcript)
    starts = [event.start for event in events if event.type == "transcript.text.segment"]
    assert starts == sorted(starts)


def test_a_stream_of_a_long_recording_has_all_of_it(client: OpenAI) -> None:
    # Zeros after the last frame: nobody has sent these bytes before.
    recording = ("streamed.flac", SAMPLES["long"].path.read_bytes() + bytes(16))
    events = list(create(client, file=recording, stream=True))
    assert "".join(event.delta for event in events if event.type == "transcript.text.delta") == events[-1].text
    assert words(events[-1].text) == words(SAMPLES["long"].transcript)


def test_published_fields_without_a_meaning_here_do_no_harm(client: OpenAI) -> None:
    answer = create(
        client,
        chunking_strategy={"type": "server_vad", "threshold": 0.5},
        include=["logprobs"],
        keywords=["hospital", "camera"],
        language="en",
        prompt="Names and places.",
        temperature=0,
        model="gpt-4o-transcribe",
        extra_body={"vad_filter": True},
    )
    assert words(answer.text) == words(SHORT.transcript)


@pytest.mark.parametrize(
    ("options", "kind", "param", "code"),
    [
        ({"model": "no-such-model"}, openai.NotFoundError, "model", "model_not_found"),
        ({"language": "xx"}, openai.BadRequestError, "language", "invalid_language_format"),
        ({"temperature": 7}, openai.BadRequestError, "temperature", "invalid_option"),
        ({"response_format": "yaml"}, openai.BadRequestError, "response_format", "invalid_option"),
        ({**DIARIZED, "prompt": "Names."}, openai.BadRequestError, "prompt", "malformed_request"),
        ({**DIARIZED, "include": ["logprobs"]}, openai.BadRequestError, "include", "malformed_request"),
        (
            {**DIARIZED, "timestamp_granularities": ["word"]},
            openai.BadRequestError,
            "timestamp_granularities",
            "malformed_request",
        ),
        ({**DIARIZED, "response_format": "srt"}, openai.BadRequestError, "response_format", "malformed_request"),
        (
            {**DIARIZED, "known_speaker_names": ["Ann"]},
            openai.BadRequestError,
            "known_speaker_references",
            "invalid_option",
        ),
        ({"extra_body": {"nonsense": 3}}, openai.BadRequestError, "nonsense", "unknown_option"),
        ({"extra_body": {"stream": "perhaps"}}, openai.BadRequestError, "stream", "invalid_option"),
        ({"file": ("a.mp3", b"")}, openai.BadRequestError, "file", "empty_file"),
        ({"file": ("a.mp4", audio_files.video(sound=False))}, openai.BadRequestError, None, "no_audio_stream"),
    ],
)
def test_a_mistake_is_the_client_s_own_exception(
    client: OpenAI, options: dict[str, Any], kind: type[openai.APIStatusError], param: str | None, code: str
) -> None:
    with pytest.raises(kind) as caught:
        create(client, **options)
    assert type(caught.value) is kind
    assert (caught.value.param, caught.value.code) == (param, code)
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id
    assert isinstance(caught.value.body, dict)
    assert set(caught.value.body) == {"message", "type", "param", "code"}


def test_text_that_is_called_mp3_is_unsupported_media(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        create(client, file=("a.mp3", audio_files.text()))
    assert (caught.value.status_code, caught.value.code) == (400, "unsupported_media")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"files": {"audio": ("a.wav", b"x")}}, 400, "missing_file"),
        ({"data": {"model": "whisper-1"}}, 400, "missing_file"),
        ({"content": b"x", "headers": {"content-type": "text/plain"}}, 400, "unsupported_media"),
    ],
)
def test_a_body_without_a_file_has_openai_s_error(
    platform: TestPlatform, body: dict[str, Any], status: int, code: str
) -> None:
    answer = httpx.post(f"{platform.url}/v1/audio/transcriptions", **body)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == code
    assert answer.headers["x-request-id"]


def test_models_can_be_listed_and_looked_up(client: OpenAI) -> None:
    listed = {model.id: model for model in client.models.list()}
    assert {"demo", "whisper-1", "gpt-4o-transcribe", "whisper-large"} <= set(listed)
    found = client.models.retrieve("whisper-1")
    assert found == listed["whisper-1"]
    assert (found.object, found.owned_by) == ("model", "murmuration")
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("no-such-model")
    assert caught.value.code == "model_not_found"


def test_the_retry_of_a_slow_request_attaches_to_the_running_computation(platform: TestPlatform) -> None:
    # Nobody else sends these bytes: zeros after the last frame.
    recording = ("slow.flac", SAMPLES["long"].path.read_bytes() + bytes(32))
    # What /stats says may be a second old.
    with platform.client() as native, Redis.from_url(platform.redis_url, decode_responses=True) as ledger:
        before = ledger.hgetall("murmur:stats")

        def grown(name: str) -> int:
            return int(ledger.hget("murmur:stats", name) or 0) - int(before.get(name, 0))

        impatient = httpx.Request("POST", f"{platform.url}/v1/audio/transcriptions", files={"file": recording})
        head = [b"POST /v1/audio/transcriptions HTTP/1.1", *(b": ".join(pair) for pair in impatient.headers.raw)]
        with socket.create_connection(("127.0.0.1", platform.layout.port)) as wire:
            wire.sendall(b"\r\n".join([*head, b"", b""]) + impatient.read())
            eventually(lambda: grown("new") == 1, 30)
        with OpenAI(base_url=f"{platform.url}/v1", api_key="unused", max_retries=2, timeout=60) as patient:
            answer = patient.audio.transcriptions.create(model="whisper-1", file=recording)
        assert words(answer.text) == words(SAMPLES["long"].transcript)
        assert (grown("new"), grown("joined") + grown("cached")) == (1, 1)
        (first, second) = native.jobs(limit=2).jobs
        assert [job.status.value for job in (first, second)] == ["completed", "completed"]


def test_words_alone_bring_no_segments(client: OpenAI) -> None:
    answer = create(client, response_format="verbose_json", timestamp_granularities=["word"])
    assert answer.words
    assert not answer.segments


def test_text_is_one_line_and_subtitles_are_plain_text_and_seconds_are_whole(client: OpenAI) -> None:
    assert create(client, response_format="text").strip().count("\n") == 0
    raw = client.audio.transcriptions.with_raw_response.create(
        model="whisper-1", file=SHORT.path, response_format="srt"
    )
    assert raw.headers["content-type"].startswith("text/plain")
    seconds = create(client).usage.seconds
    assert seconds == int(seconds)
    assert 0 <= seconds - SHORT.segments[-1].end < 3


def test_harmless_fields_of_others_are_let_go_and_named_and_a_long_prompt_is_cut(client: OpenAI) -> None:
    raw = client.audio.transcriptions.with_raw_response.create(
        model="whisper-1", file=SHORT.path, prompt="word " * 2000, extra_body={"best_of": 3, "seed": 1, "user": "u"}
    )
    assert words(raw.parse().text)
    for name in ("best_of", "seed", "user"):
        assert name in raw.headers["warning"]


@pytest.mark.parametrize(
    "name",
    [
        "openai/whisper-large-v3-turbo",
        "Systran/faster-whisper-small",
        "distil-whisper/distil-large-v3",
        "Systran/faster-distil-whisper-large-v3",
        "deepdml/faster-whisper-large-v3-turbo-ct2",
        "mlx-community/whisper-tiny-mlx",
        "gpt-4o-mini-transcribe-2025-12-15",
    ],
)
def test_names_of_other_places_mean_the_same_model(client: OpenAI, name: str) -> None:
    assert words(create(client, model=name).text) == words(SHORT.transcript)
    assert client.models.retrieve(name).id == name


@pytest.mark.parametrize("path", ["", "/openai/v1"])
def test_the_api_answers_under_other_paths(platform: TestPlatform, path: str) -> None:
    with OpenAI(base_url=f"{platform.url}{path}", api_key="unused", max_retries=0) as client:
        assert words(create(client).text) == words(SHORT.transcript)


def test_azure_s_client_works(platform: TestPlatform) -> None:
    with openai.AzureOpenAI(
        azure_endpoint=platform.url, api_key="unused", api_version="2025-03-01", max_retries=0
    ) as client:
        assert words(create(client).text) == words(SHORT.transcript)


def test_errors_about_models_are_openai_s_whatever_stands_in_the_path(platform: TestPlatform) -> None:
    answer = httpx.get(f"{platform.url}/v1/models/x%0A")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("asked", "meant"),
    [("/v1/transcriptions", "/v1/audio/transcriptions"), ("/v1/job", "/v1/jobs"), ("/healthz", "/health")],
)
def test_a_near_miss_is_told_what_was_meant(platform: TestPlatform, asked: str, meant: str) -> None:
    answer = httpx.get(platform.url + asked)
    assert answer.status_code == 404
    assert f"did you mean {meant}?" in answer.text


def test_diarized_json_says_who_said_what(client: OpenAI) -> None:
    answer = client.audio.transcriptions.create(file=DIALOGUE.path, **DIARIZED)
    assert words(answer.text) == words(DIALOGUE.transcript)
    assert (answer.task, answer.usage.type, answer.usage.seconds) == ("transcribe", "duration", 22)
    assert answer.duration == pytest.approx(DIALOGUE.duration_s, abs=0.1)
    assert [segment.id for segment in answer.segments] == [f"seg_{n}" for n in range(len(answer.segments))]
    assert {segment.type for segment in answer.segments} == {"transcript.text.segment"}
    for sentence in DIALOGUE.segments:
        middle = (sentence.start + sentence.end) / 2
        assert [one.speaker for one in answer.segments if one.start <= middle < one.end] == [sentence.speaker]


def test_stream_of_a_diarization_names_the_segment_of_each_delta(client: OpenAI) -> None:
    events = list(client.audio.transcriptions.create(file=DIALOGUE.path, stream=True, **DIARIZED))
    deltas = [event for event in events if event.type == "transcript.text.delta"]
    segments = [event for event in events if event.type == "transcript.text.segment"]
    assert [delta.segment_id for delta in deltas] == [segment.id for segment in segments]
    assert {segment.speaker for segment in segments} == {"A", "B"}
    assert events[-1].type == "transcript.text.done"
    assert words("".join(delta.delta for delta in deltas)) == words(events[-1].text) == words(DIALOGUE.transcript)


def test_model_for_speakers_gives_the_bare_text_too(client: OpenAI) -> None:
    answer = client.audio.transcriptions.create(file=DIALOGUE.path, model=DIARIZED["model"], response_format="json")
    assert words(answer.text) == words(DIALOGUE.transcript)


def test_translation_is_not_told_apart_by_speakers(platform: TestPlatform) -> None:
    answer = httpx.post(
        f"{platform.url}/v1/audio/translations",
        files={"file": DIALOGUE.path.read_bytes()},
        data={"model": "whisper-1", "response_format": "diarized_json"},
    )
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "response_format")
