"""A platform with encryption at rest: recordings come in, are judged, decoded and fetched, and lie there encrypted."""

import time
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from tests import audio_files, sound
from tests.api_client import Bench
from tests.secured_api import secured, settings_for
from tests.unit.test_encryption import key_file
from transcription.encryption.files import file_encryption
from transcription.media.decoder import Decoder
from transcription.settings import Blobs, Encryption, Settings
from transcription.storage.cached import CachedBlobs
from transcription.storage.disk import DiskBlobs
from transcription.storage.signed_links import ROOT, ApiSource, sign
from transcription.storage.stores import open_blobs

pytestmark = pytest.mark.anyio
SECRET = "0123456789abcdef"


def encrypted(redis_url: str, tmp_path: Path) -> Settings:
    settings = settings_for(redis_url, tmp_path / "data", require_keys=False)
    keys = Encryption(key_file=str(key_file(tmp_path / "keys", "k1")))
    return settings.model_copy(update={"encryption": keys, "blobs": Blobs(secret=SecretStr(SECRET))})


def recordings() -> list[bytes]:
    return [
        audio_files.wav(2.0),
        audio_files.mp3(2.0),
        audio_files.encoded("ipod", "aac", seconds=5.0, rate=16_000),
        audio_files.encoded("ogg", "libopus", seconds=2.0, rate=48_000),
        audio_files.video(seconds=1.0),
    ]


async def test_recordings_lie_there_encrypted_and_are_judged_and_decoded_as_plain_ones(
    redis_url: str, tmp_path: Path
) -> None:
    settings = encrypted(redis_url, tmp_path)
    blobs = open_blobs(settings)
    decoder, plain_decoder = Decoder(settings), Decoder(Settings(data_dir=tmp_path / "plain"))
    try:
        async with secured(settings, sandboxed=True) as api:
            for audio in recordings():
                answer = await api.submit(audio)
                assert answer.status_code == 202, answer.text
                stored = blobs.fetch(api.jobs.submissions[-1].audio.sha256)
                assert audio[:64] not in stored.read_bytes()
                assert audio[-64:] not in stored.read_bytes()
                (tmp_path / "plain-file").write_bytes(audio)
                ways = [(decoder, stored), (plain_decoder, tmp_path / "plain-file")]
                one, other = (who.decode(path, sound.empty()) for who, path in ways)
                assert one[:].size > 1000
                assert (one[:] == other[:]).all()
            assert len(api.leftovers()) == len(recordings())
            # What is no recording is refused as ever, and nothing is left of it.
            assert (await api.submit(b"\0" * 100_000)).status_code == 415
            assert len(api.leftovers()) == len(recordings())
    finally:
        decoder.close()
        plain_decoder.close()


async def test_a_range_of_a_stored_recording_and_a_copy_elsewhere_stay_encrypted_and_are_verified(
    redis_url: str, tmp_path: Path
) -> None:
    settings = encrypted(redis_url, tmp_path)
    log = tmp_path / "audit.jsonl"
    settings = settings.model_copy(update={"security": settings.security.model_copy(update={"audit_log": str(log)})})
    encryption = file_encryption(settings)
    audio = audio_files.wav(3.0)
    async with secured(settings, sandboxed=True) as api:
        assert (await api.submit(audio)).status_code == 202
        sha256 = api.jobs.submissions[-1].audio.sha256
        stored = open_blobs(settings).fetch(sha256).read_bytes()
        answer = await link(api, sha256, {"Range": "bytes=1000-1999"})
        assert (answer.status_code, answer.content) == (206, stored[1000:2000])
        source = ApiSource("http://api.test", secret=SECRET)
        whole = (await link(api, sha256, {})).content
        # Whoever has the secret of links reads recordings: that stands in the audit log too.
        assert log.read_text().count('"action":"read audio"') == log.read_text().count(f'"audio":"{sha256}"') - 1 == 2
        source._client = httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, content=whole)))
        copies = CachedBlobs(DiskBlobs(tmp_path / "copies", encryption=encryption), source, cache_bytes=1 << 30)
        copy = copies.fetch(sha256)
        assert copy.read_bytes() == stored
        with encryption.open(copy) as file:
            assert file.read() == audio
        # One that comes plain, from an API of before, is encrypted here.
        copy.unlink()
        source._client = httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, content=audio)))
        copy = copies.fetch(sha256)
        assert audio[:64] not in copy.read_bytes()
        copies.check(sha256)


async def link(api: Bench, sha256: str, headers: dict[str, str]) -> httpx.Response:
    path, expires = f"{ROOT}/{sha256}", int(time.time()) + 60
    query = {"expires": expires, "signature": sign(SECRET, f"GET {path}", expires)}
    return await api.http.get(path, params=query, headers=headers)
