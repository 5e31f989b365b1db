"""Channels and languages over HTTP: what is refused, and what comes of it, against a ledger in memory."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from api.jobs.channels import count_channels
from tests import audio_files
from tests.api_client import Bench, bench
from tests.platform import eventually_async
from transcription.channels import Channel
from transcription.job import Submission
from transcription.media.findings import Probe
from transcription.options import Options
from transcription.tracks import Track

pytestmark = pytest.mark.anyio

MONO = audio_files.wav()
STEREO = audio_files.wav(channels=2)


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench(tmp_path, max_channels=3) as running:
        yield running


@pytest.mark.parametrize(
    ("audio", "options", "said"),
    [
        (MONO, {"channels": "split"}, "channels: the recording has one channel"),
        (audio_files.wav(channels=4), {"channels": "split"}, "has 4; the limit is 3 (MURMUR_LIMITS__MAX_CHANNELS)"),
        (STEREO, {"channels": "split", "channel_names": "a,b,c"}, "channel_names: 3 names came for 2 channels"),
        (STEREO, {"channels": "split", "diarize": "true"}, "diarize: with channels=split"),
        (STEREO, {"channel_names": "a,b"}, "channel_names: needs channels=split"),
        (STEREO, {"channels": "left"}, "channels: Input should be 'mix' or 'split'"),
        (STEREO, {"audio_track": "5"}, "audio_track"),
        (MONO, {"languages": "de,xx"}, "languages: 'xx' is no language"),
        (MONO, {"languages": "de,en", "language": "fr"}, "languages: 'fr', the language, isn't among them"),
    ],
)
async def test_what_makes_no_sense_is_refused_and_nothing_is_kept(
    api: Bench, audio: bytes, options: dict[str, str], said: str
) -> None:
    answer = await api.submit(audio, **options)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_option")
    assert said in answer.json()["detail"]
    assert api.jobs.submissions == []
    assert not any("blobs" in name and not name.endswith(".lock") for name in api.leftovers())


async def test_every_channel_of_the_file_is_asked_for_and_a_hint_is_sent_for_each(api: Bench) -> None:
    answer = await api.submit(audio_files.wav(channels=3), channels="split", channel_names="left, right, room")
    assert answer.status_code == 202, answer.text
    (submission,) = api.jobs.submissions
    assert (submission.channels, submission.options.channel_names) == (3, ("left", "right", "room"))
    assert answer.json()["options"]["channel_names"] == ["left", "right", "room"]
    await eventually_async(lambda: api.queue.hints == 3)


def test_channels_are_counted_of_the_track_in_the_language_that_was_asked_for() -> None:
    english = Track(number=1, codec="aac", channels=2, sample_rate=48_000, language="en", default=True)
    german = replace(english, number=2, channels=3, language="de", default=False)
    found = Probe(container="mov", duration_s=1.0, streams=(), tracks=(english, german))
    assert count_channels(found, Options(channels="split"), most=8) == 2
    assert count_channels(found, Options(channels="split", language="de"), most=8) == 3


async def test_channels_of_a_recording_are_taken_as_one_where_nobody_asked(api: Bench) -> None:
    await api.submit(STEREO)
    await api.submit(STEREO, channels="mix")
    assert [one.channels for one in api.jobs.submissions] == [1, 1]


@pytest.mark.parametrize(
    "fields",
    [
        [("languages", "de"), ("languages", "en")],
        [("languages[]", "de"), ("languages[]", "en")],
        [("languages", "de,en")],
        [("languages", '["de", "en"]')],
    ],
)
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/audio/transcriptions"])
async def test_second_language_is_never_dropped(api: Bench, path: str, fields: list[tuple[str, str]]) -> None:
    submission = await _submitted(api, path, fields)
    assert submission.options.possible_languages == ("de", "en")


async def test_openai_s_only_language_is_the_language(api: Bench) -> None:
    submission = await _submitted(api, "/v1/audio/transcriptions", [("languages", "de")])
    assert submission.options.language == "de"


async def test_openai_s_clients_hear_which_field_is_wrong(api: Bench) -> None:
    answer = await api.http.post(
        "/v1/audio/transcriptions", files={"file": ("a.wav", MONO)}, data={"channels": "split"}
    )
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "channels")


async def _submitted(api: Bench, path: str, fields: list[tuple[str, str]]) -> Submission:
    """What is handed in with a form, whether the answer comes at once or with the transcript."""
    parts = [("file", ("a.wav", MONO)), *((name, (None, value)) for name, value in fields)]
    answer = asyncio.create_task(api.http.post(path, files=parts))
    await api.jobs.accepted.wait()
    (submission,) = api.jobs.submissions
    api.jobs.finish(submission.job_id)
    assert (await answer).is_success
    return submission


async def test_validator_of_a_result_changes_with_its_channels_and_their_names(api: Bench) -> None:
    job_id = (await api.submit(STEREO)).json()["id"]
    tags = set()
    for name, other in (("a", "c-2"), ("b", "c-2"), ("b", "c-3")):
        channels = (Channel(number=1, computation="c-1", name=name), Channel(number=2, computation=other))
        api.jobs.finish(job_id, channels=channels)
        tags.add((await api.http.get(f"/v1/jobs/{job_id}/result")).headers["etag"])
    assert len(tags) == 3
