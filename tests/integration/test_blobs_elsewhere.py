"""Audio on its way to hosts that share no disk: through a bucket, and through the API's signed links."""

import asyncio
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import obstore
import pytest

from tests.live_api import live_api
from transcription.errors import BlobDamaged, BlobMissing, Stopped, StorageUnavailable
from transcription.settings import Settings
from transcription.storage import s3
from transcription.storage.cached import CachedBlobs
from transcription.storage.disk import DiskBlobs
from transcription.storage.s3 import RESULTS, S3Source
from transcription.storage.signed_links import ROOT, ApiSource, sign, valid
from transcription.storage.stores import open_blobs

SECRET = "long enough to be a secret"
AUDIO = os.urandom(3_000_000)


def stored(blobs: DiskBlobs | CachedBlobs, data: bytes = AUDIO) -> str:
    async def put() -> str:
        upload = blobs.upload()
        await upload.write(data)
        return await upload.commit()

    return asyncio.run(put())


@pytest.fixture
def host(bucket: str, bucket_endpoint: str, tmp_path: Path) -> Callable[..., CachedBlobs]:
    """Make the store of another host, with a disk of its own, on the same bucket."""

    def make(name: str, cache_bytes: int = 1 << 30) -> CachedBlobs:
        return CachedBlobs(
            DiskBlobs(tmp_path / name), S3Source(bucket, endpoint=bucket_endpoint), cache_bytes=cache_bytes
        )

    return make


def test_bucket_takes_audio_from_one_host_to_another(host: Callable[..., CachedBlobs]) -> None:
    sha256 = stored(host("api"))
    worker = host("mac")
    assert worker.fetch(sha256).read_bytes() == AUDIO
    assert worker.fetch(sha256) == worker.fetch(sha256)
    assert not list(worker.fetch(sha256).parents[1].glob("parts/*"))


def test_transfer_says_that_it_goes_on_and_ends_when_nobody_wants_it(
    host: Callable[..., CachedBlobs], tmp_path: Path
) -> None:
    sha256 = stored(host("api"))
    told: list[bool] = []
    host("mac").fetch(sha256, progressed=lambda: told.append(True))
    assert len(told) > 1

    def unwanted() -> None:
        raise Stopped("nobody waits for it")

    with pytest.raises(Stopped):
        host("other").fetch(sha256, progressed=unwanted)
    assert not [path for path in (tmp_path / "other").rglob("*") if path.is_file()]


def test_copy_that_was_just_asked_for_stays_until_it_can_be_opened(host: Callable[..., CachedBlobs]) -> None:
    api, worker = host("api"), host("mac", cache_bytes=0)
    first = worker.fetch(stored(api, b"first"))
    worker.fetch(stored(api, b"second"))
    assert first.read_bytes() == b"first"
    os.utime(first, (0, 0))
    worker.fetch(stored(api, b"third"))
    assert not first.exists()


def test_cache_keeps_to_its_size_and_forgets_what_was_not_asked_for_longest(host: Callable[..., CachedBlobs]) -> None:
    api, worker = host("api"), host("mac", cache_bytes=2500)
    names = [stored(api, bytes([n]) * 1000) for n in range(3)]
    for age, name in enumerate(names[:2]):
        os.utime(worker.fetch(name), (age, age))
    worker.fetch(names[2])
    assert sorted(path.name for path in worker.fetch(names[2]).parents[1].glob("??/*")) == sorted(names[1:])
    assert worker.fetch(names[0]).read_bytes() == bytes(1000)


def test_sweep_of_a_bucket_deletes_what_is_old_and_held_by_nobody(host: Callable[..., CachedBlobs]) -> None:
    api = host("api")
    held, unheld = stored(api), stored(api, b"nobody wants this")
    assert api.sweep(older_than_s=3600, held=lambda _: ()) == 0
    assert host("mac").sweep(older_than_s=-60, held=lambda _: {held}) == 1
    assert host("another").fetch(held)
    with pytest.raises(BlobMissing):
        host("another").fetch(unheld)


def test_sweep_leaves_what_came_in_once_more_since_it_looked_and_what_lies_in_other_folders(
    bucket: str, bucket_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, others = S3Source(bucket, endpoint=bucket_endpoint), S3Source(f"{bucket}-of-others", endpoint=bucket_endpoint)
    path, name = tmp_path / "audio", "a" * 64
    path.write_bytes(b"somebody's")
    ours.write(name, path)
    others.write(name, path)
    obstore.put(ours.store, f"{RESULTS}aa/{name}", b"a result")
    later = ours.before(-60)
    times, ages = iter((later, ours.before(3600))), list[float]()
    monkeypatch.setattr(ours, "before", lambda seconds: ages.append(seconds) or next(times))  # type: ignore[func-returns-value]
    asked: list[str] = []
    assert ours.sweep(older_than_s=7, held=lambda names: asked.extend(names) or ()) == 1  # type: ignore[func-returns-value]
    assert b"".join(ours.read(name)) == b"somebody's", "the second look found it younger than the first"
    assert (asked, ages) == ([name], [7, 7])
    monkeypatch.setattr(ours, "before", lambda _: later)
    ours.sweep(older_than_s=0, held=lambda _: ())
    with pytest.raises(BlobMissing):
        list(ours.read(name))
    assert b"".join(others.read(name)) == b"somebody's"
    assert bytes(obstore.get(ours.store, f"{RESULTS}aa/{name}").bytes()) == b"a result"


def test_sweep_of_a_bucket_goes_by_the_bucket_s_clock(
    host: Callable[..., CachedBlobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256, real = stored(host("api"), b"fresh"), datetime.now(UTC)

    class Ahead(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Ahead":
            return cls.fromtimestamp((real + timedelta(hours=2)).timestamp(), tz)

    monkeypatch.setattr(s3, "datetime", Ahead)
    monkeypatch.setattr(time, "time", lambda: Ahead.now().timestamp())
    worker = host("mac")
    assert worker.sweep(older_than_s=3600, held=lambda _: ()) == 0
    worker.discard(sha256, older_than_s=60)
    assert worker.fetch(sha256).read_bytes() == b"fresh"


def test_discarded_audio_is_gone_from_the_bucket_unless_it_is_fresh(host: Callable[..., CachedBlobs]) -> None:
    api = host("api")
    sha256 = stored(api)
    api.discard(sha256, older_than_s=60)
    assert host("mac").fetch(sha256)
    api.discard(sha256, older_than_s=-60)
    api.discard(sha256, older_than_s=-60)
    with pytest.raises(BlobMissing):
        host("another").fetch(sha256)


def test_bucket_that_cannot_be_reached_is_unavailable_for_now(bucket: str, tmp_path: Path) -> None:
    gone = CachedBlobs(DiskBlobs(tmp_path), S3Source(bucket, endpoint="http://127.0.0.1:9"), cache_bytes=1)
    with pytest.raises(StorageUnavailable, match="the bucket of the audio can't be had") as caught:
        gone.fetch("0" * 64)
    assert caught.value.retryable


def test_audio_that_came_damaged_is_not_taken(host: Callable[..., CachedBlobs], tmp_path: Path) -> None:
    sha256 = stored(host("api"))
    worker = host("mac")
    worker._source.read = lambda _: iter([AUDIO[:-1]])  # type: ignore[method-assign]
    with pytest.raises(BlobDamaged, match="isn't that audio"):
        worker.fetch(sha256)
    assert not [path for path in (tmp_path / "mac").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("now", "what", "secret", "good"),
    [
        (99.9, "GET /a", SECRET, True),
        (100, "GET /a", SECRET, False),
        (50, "GET /b", SECRET, False),
        (50, "DELETE /a", SECRET, False),
        (50, "GET /a", "another secret, just as long", False),
    ],
)
def test_link_is_good_for_one_thing_and_a_while(now: float, what: str, secret: str, *, good: bool) -> None:
    assert valid(SECRET, what, expires=100, signature=sign(secret, "GET /a", 100), now=now) is good


@pytest.fixture
def api_settings(redis_url: str, tmp_path: Path) -> Settings:
    return Settings.model_validate(
        {
            "data_dir": tmp_path / "api",
            "model": "demo",
            "ledger": {"url": redis_url},
            "blobs": {"secret": SECRET},
            "security": {"require_keys": True},
        }
    )


def test_api_gives_audio_to_workers_that_sign_and_to_nobody_else(api_settings: Settings, tmp_path: Path) -> None:
    sha256 = stored(open_blobs(api_settings))
    with live_api(api_settings) as client:
        url = str(client.base_url)
        near = {"data_dir": tmp_path / "mac", "blobs": {"url": url, "secret": SECRET}}
        worker = open_blobs(Settings.model_validate(near))
        assert worker.fetch(sha256).read_bytes() == AUDIO
        with pytest.raises(BlobMissing):
            worker.fetch("0" * 64)
        with pytest.raises(StorageUnavailable, match="only read"):
            stored(worker, b"other")
        for link in ({}, {"expires": 1 << 40, "signature": "0" * 64}, {"expires": 1 << 40, "signature": "ü"}):
            assert client.get(f"{ROOT}/{sha256}", params=link).status_code == 403
        stranger = CachedBlobs(
            DiskBlobs(tmp_path / "stranger"), ApiSource(url, secret="x" * 16, ttl_s=9), cache_bytes=1 << 30
        )
        with pytest.raises(StorageUnavailable, match="403") as caught:
            stranger.fetch(sha256)
        assert "signature" not in str(caught.value)  # the job's client reads this


def test_worker_elsewhere_has_the_api_delete_what_nobody_holds(api_settings: Settings, tmp_path: Path) -> None:
    ours = open_blobs(api_settings)
    held, unheld = stored(ours), stored(ours, b"nobody wants this")
    for sha256 in (held, unheld):
        os.utime(ours.fetch(sha256), (1, 1))
    with live_api(api_settings) as client:
        url = str(client.base_url)
        source = ApiSource(url, secret=SECRET, ttl_s=9)
        assert source.sweep(older_than_s=0, held=lambda _: {held}) == 1
        fresh = stored(ours, b"its job is about to be submitted")
        source.discard(fresh, older_than_s=0)
        source._client.close()
    assert ours.fetch(fresh)
    assert ours.fetch(held)
    with pytest.raises(BlobMissing):
        ours.fetch(unheld)


def test_api_without_a_secret_has_no_links(api_settings: Settings) -> None:
    settings = api_settings.model_copy(update={"blobs": type(api_settings.blobs)()})
    sha256 = stored(open_blobs(settings))
    with live_api(settings) as client:
        link = {"expires": 1 << 40, "signature": sign("", f"GET {ROOT}/{sha256}", 1 << 40)}
        assert client.get(f"{ROOT}/{sha256}", params=link).status_code == 403
