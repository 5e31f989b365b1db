"""A call with English on its left channel and German on its right, and a talk in both, on a real platform."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from openai import OpenAI

from demo import SAMPLES
from murmur import BadRequest, Client
from tests import audio_files, sse
from tests.platform import TestPlatform
from transcription.media.audio import Samples
from transcription.media.codecs.decode import decode

ENGLISH, GERMAN, LONG = SAMPLES["short"], SAMPLES["german"], SAMPLES["long"]


def samples(*names: str) -> Samples:
    return np.concatenate([decode(SAMPLES[name].path, limit_s=1000) for name in names])


def stereo(left: Samples, right: Samples) -> bytes:
    both = np.zeros((max(left.size, right.size), 2), np.float32)
    both[: left.size, 0], both[: right.size, 1] = left, right
    return audio_files.wav_of(np.rint(both * 32767).astype(np.int16), rate=16_000)


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("call") / "call.wav"
    path.write_bytes(stereo(samples("short"), samples("german")))
    return path


@pytest.fixture
def client(platform: TestPlatform) -> Iterator[Client]:
    with platform.client() as opened:
        yield opened


@pytest.fixture(scope="module")
def job_id(platform: TestPlatform, call: Path) -> str:
    with platform.client() as client:
        job = client.submit(call, channels="split", channel_names=["agent", "customer"], word_timestamps=True)
        return client.wait(job.id, seconds=30).id


def test_each_channel_has_its_own_words_and_language(client: Client, job_id: str) -> None:
    result = client.result(job_id, "verbose_json")
    for number, name, sample in ((1, "agent", ENGLISH), (2, "customer", GERMAN)):
        said = [segment for segment in result["segments"] if segment["channel"] == number]
        assert "".join(segment["text"] for segment in said).strip() == sample.transcript
        assert {(segment["channel_name"], segment["language"]) for segment in said} == {(name, sample.language)}
    starts = [segment["start"] for segment in result["segments"]]
    assert starts == sorted(starts)
    assert result["text"].split() == " ".join(segment["text"] for segment in result["segments"]).split()
    assert len(result["words"]) == len(ENGLISH.transcript.split()) + len(GERMAN.transcript.split())


def test_every_format_names_the_channels(client: Client, job_id: str) -> None:
    english, german = ENGLISH.segments[0].text, GERMAN.segments[0].text
    assert f"agent: {english}\n" in client.result(job_id, "text")
    assert f"\ncustomer: {german}\n" in client.result(job_id, "srt")
    assert f"\n<v agent>{english}\n" in client.result(job_id, "vtt")
    assert client.result(job_id, "tsv").splitlines()[0] == "start\tend\ttext\tchannel"
    assert f"\t{german}\tcustomer\n" in client.result(job_id, "tsv")
    assert english in client.result(job_id, "json")["text"]


def test_job_says_what_is_known_of_each_channel(client: Client, job_id: str) -> None:
    channels = client.job(job_id).model_extra["channels"]
    assert [(one["number"], one["name"], one["language"]) for one in channels] == [
        (1, "agent", "en"), (2, "customer", "de"),
    ]  # fmt: skip


def test_events_say_the_channel_of_every_segment(platform: TestPlatform, job_id: str) -> None:
    text = httpx.get(f"{platform.url}/v1/jobs/{job_id}/events").text
    told = list(sse.parse(iter(text.splitlines())))
    segments = [event.data for event in told if event.type == "segment"]
    assert {(one["channel"], one["channel_name"]) for one in segments} == {(1, "agent"), (2, "customer")}
    assert told[-1].type == "done"
    again = httpx.get(f"{platform.url}/v1/jobs/{job_id}/events", headers={"Last-Event-ID": told[3].id}).text
    assert [event.id for event in sse.parse(iter(again.splitlines()))] == [event.id for event in told[4:]]


def test_other_names_give_another_result_and_compute_nothing(
    platform: TestPlatform, client: Client, job_id: str, call: Path
) -> None:
    other = client.submit(call, channels="split", word_timestamps=True)
    assert other.cached
    assert f"Channel 1: {ENGLISH.segments[0].text}\n" in client.result(other.id, "text")
    assert f"agent: {ENGLISH.segments[0].text}\n" in client.result(job_id, "text")
    tags = {httpx.get(f"{platform.url}/v1/jobs/{one}/result").headers["ETag"] for one in (job_id, other.id)}
    assert len(tags) == 2


def test_mono_that_was_stored_as_stereo_is_said_once(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "twice.wav"
    path.write_bytes(stereo(samples("short"), samples("short")))
    job = client.wait(client.submit(path, channels="split").id, seconds=30)
    assert client.result(job.id, "json")["text"] == ENGLISH.transcript
    assert [one["same_as"] for one in job.model_extra["channels"]] == [None, 1]


def test_short_channels_are_heard_in_their_own_length(client: Client, call: Path) -> None:
    found = client.transcribe(call, channels="split", fast_short=True)
    said = "".join(segment.text for segment in found.segments if segment.channel == 1).strip()
    assert said == ENGLISH.transcript


def test_openai_s_client_gets_both_channels_also_as_a_stream(platform: TestPlatform, call: Path) -> None:
    with OpenAI(base_url=f"{platform.url}/v1", api_key="unused", max_retries=0, timeout=60) as openai:
        asked = {"channels": "split", "channel_names": "agent,customer"}
        plain = openai.audio.transcriptions.create(model="whisper-1", file=call, extra_body=asked)
        events = list(openai.audio.transcriptions.create(model="whisper-1", file=call, stream=True, extra_body=asked))
    for sentence in (*ENGLISH.segments, *GERMAN.segments):
        assert sentence.text in plain.text
    assert events[-1].type == "transcript.text.done"
    assert events[-1].text == plain.text
    assert "".join(event.delta for event in events if event.type == "transcript.text.delta").strip() == plain.text


def test_one_channel_has_nothing_to_split(client: Client) -> None:
    with pytest.raises(BadRequest, match="channels: the recording has one channel"):
        client.submit(ENGLISH.path, channels="split")


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A window in English, then more than one in German."""
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    english = samples("long")[: 28 * 16_000]
    path.write_bytes(audio_files.recording(np.concatenate([english, samples(*["german"] * 4)])))
    return path


def test_talk_in_two_languages_is_written_in_both(client: Client, talk: Path) -> None:
    found = client.transcribe(talk, multilingual=True)
    first, last = found.segments[0], found.segments[-1]
    assert (first.language, first.text.strip()) == ("en", LONG.segments[0].text)
    assert (last.language, last.text.strip()) == ("de", GERMAN.segments[-1].text)
    tongues = [segment.language for segment in found.segments]
    assert tongues == sorted(tongues, reverse=True)  # it changes once
    assert found.language == "german"  # most is said in it


def test_language_is_detected_among_those_that_may_be_spoken(client: Client) -> None:
    found = client.submit(ENGLISH.path, languages=["de", "fr"])
    assert client.wait(found.id, seconds=30).language in {"de", "fr"}
    assert client.wait(client.submit(ENGLISH.path, languages="en,de").id, seconds=30).language == "en"


def test_languages_that_the_platform_does_not_know_are_refused(client: Client) -> None:
    with pytest.raises(BadRequest, match="languages: 'xx'"):
        client.submit(ENGLISH.path, languages=["en", "xx"])
