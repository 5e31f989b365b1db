"""Who spoke, on a real platform: two voices that take turns, told apart, named, and written in every format."""

from collections.abc import Iterator
from difflib import SequenceMatcher

import httpx
import pytest

from demo import DIALOGUE, SAMPLES
from murmur import BadRequest, Client
from tests.platform import TestPlatform, fresh_stats

WHO = [segment.speaker for segment in DIALOGUE.segments]


@pytest.fixture(scope="module")
def job_id(platform: TestPlatform) -> str:
    with platform.client() as client:
        return client.wait(client.submit(DIALOGUE.path, diarize=True, word_timestamps=True).id, seconds=20).id


@pytest.fixture
def client(platform: TestPlatform) -> Iterator[Client]:
    with platform.client() as opened:
        yield opened


def test_every_sentence_and_word_has_the_speaker_who_said_it(client: Client, job_id: str) -> None:
    result = client.result(job_id, "verbose_json")
    assert result["text"].split() == DIALOGUE.transcript.split()
    said = [word["speaker"] for word in result["words"]]
    truth = [segment.speaker for segment in DIALOGUE.segments for _ in segment.text.split()]
    assert SequenceMatcher(None, said, truth, autojunk=False).ratio() > 0.97
    assert all(word["speaker"] == segment["speaker"] for segment in result["segments"] for word in segment["words"])
    assert not any(segment["overlap"] for segment in result["segments"])


def test_number_of_speakers_is_found(client: Client, job_id: str) -> None:
    assert {segment["speaker"] for segment in client.result(job_id, "verbose_json")["segments"]} == {"A", "B"}


def test_names_are_written_in_every_format_until_they_are_taken_back(client: Client, job_id: str) -> None:
    named = client.name_speakers(job_id, {"A": "Anna", "B": "Bob & Co"})
    assert named.model_extra["speakers"] == {"A": "Anna", "B": "Bob & Co"}
    assert "Anna: Welcome Anna." in client.result(job_id, "text")
    assert "\nAnna: Welcome Anna.\n" in client.result(job_id, "srt")
    assert "\n<v Bob &amp; Co>Thank you Peter.\n" in client.result(job_id, "vtt")
    assert client.result(job_id, "tsv").splitlines()[0] == "start\tend\ttext\tspeaker"
    assert "\tWelcome Anna.\tAnna\n" in client.result(job_id, "tsv")
    client.name_speakers(job_id, {"A": "", "B": ""})
    assert "A: Welcome Anna." in client.result(job_id, "text")


def test_result_that_was_named_anew_is_no_longer_what_a_client_holds(
    platform: TestPlatform, client: Client, job_id: str
) -> None:
    url = f"{platform.url}/v1/jobs/{job_id}/result"
    tag = httpx.get(url).headers["ETag"]
    assert httpx.get(url, headers={"If-None-Match": tag}).status_code == 304
    client.name_speakers(job_id, {"A": "Eva"})
    assert httpx.get(url, headers={"If-None-Match": tag}).status_code == 200
    client.name_speakers(job_id, {"A": ""})


def test_asking_who_spoke_later_transcribes_nothing_again(client: Client) -> None:
    plain = client.wait(client.submit(DIALOGUE.path, language="en").id, seconds=20)
    before = fresh_stats(client)
    later = client.wait(client.submit(DIALOGUE.path, language="en", diarize=True).id, seconds=20)
    after = fresh_stats(client)
    assert "A: " not in client.result(plain.id, "text")
    assert client.result(later.id, "text").startswith("A: ")
    assert later.compute_s >= plain.compute_s
    assert after["counters"]["audio_ms"] == before["counters"]["audio_ms"]


def test_number_of_speakers_that_is_told_is_kept(client: Client) -> None:
    one = client.transcribe(DIALOGUE.path, diarize=True, num_speakers=1)
    assert {segment.speaker for segment in one.segments} == {"A"}


def test_silence_has_no_speakers_and_is_no_error(client: Client) -> None:
    assert client.transcribe(SAMPLES["silence"].path, diarize=True).segments == ()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"num_speakers": 0, "diarize": True}, "num_speakers"),
        ({"num_speakers": 2}, "diarize"),
        ({"diarize": True, "num_speakers": 2, "max_speakers": 3}, "num_speakers"),
        ({"diarize": True, "min_speakers": 4, "max_speakers": 3}, "min_speakers"),
        ({"diarize": "perhaps"}, "diarize"),
        ({"diarize": True, "max_speakers": 51}, "max_speakers"),
    ],
)
def test_numbers_that_make_no_sense_are_refused_and_named(client: Client, options: dict[str, object], why: str) -> None:
    with pytest.raises(BadRequest, match=why):
        client.submit(DIALOGUE.path, **options)


@pytest.mark.parametrize("names", [{"Q": "Nobody"}, {}, {"a": "x"}, {"A": "x" * 101}, {"A": "line\nbreak"}])
def test_names_for_nobody_are_refused(client: Client, job_id: str, names: dict[str, str]) -> None:
    with pytest.raises(BadRequest):
        client.name_speakers(job_id, names)


def test_job_that_did_not_ask_who_speaks_has_nobody_to_name(client: Client) -> None:
    job = client.wait(client.submit(SAMPLES["short"].path).id, seconds=20)
    with pytest.raises(BadRequest, match="diarize"):
        client.name_speakers(job.id, {"A": "Anna"})
