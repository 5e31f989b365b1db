"""What every blob store promises; run against each one there is."""

import hashlib
import random
from pathlib import Path

import pytest

from transcription.errors import BlobMissing
from transcription.ports import BlobStore
from transcription.storage.cached import CachedBlobs
from transcription.storage.disk import DiskBlobs
from transcription.storage.s3 import S3Source

pytestmark = pytest.mark.anyio

AUDIO = random.Random(7).randbytes(3_500_000)
SHA256 = hashlib.sha256(AUDIO).hexdigest()


@pytest.fixture(params=["disk", "bucket"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    """A store of each kind, empty."""
    if request.param == "disk":
        return DiskBlobs(tmp_path)
    bucket, endpoint = request.getfixturevalue("bucket"), request.getfixturevalue("bucket_endpoint")
    return CachedBlobs(DiskBlobs(tmp_path), S3Source(bucket, endpoint=endpoint), cache_bytes=1 << 30)


async def stored(blobs: BlobStore, data: bytes, *, chunk: int = 65_536) -> str:
    """Put *data* into the store as an upload would."""
    upload = blobs.upload()
    for at in range(0, len(data), chunk):
        await upload.write(data[at : at + chunk])
    assert upload.size == len(data)
    return await upload.commit()


@pytest.mark.parametrize("chunk", [1 << 16, 100_001, 1 << 20, 1 << 22])
async def test_committed_upload_is_fetched_by_its_sha256(blobs: BlobStore, chunk: int) -> None:
    assert await stored(blobs, AUDIO, chunk=chunk) == SHA256
    assert blobs.fetch(SHA256).read_bytes() == AUDIO


async def test_bytes_can_be_looked_at_before_they_are_kept_and_then_go_on(blobs: BlobStore) -> None:
    upload = blobs.upload()
    await upload.write(AUDIO[:1000])
    assert (await upload.path()).read_bytes() == AUDIO[:1000]
    with pytest.raises(BlobMissing):
        blobs.fetch(hashlib.sha256(AUDIO[:1000]).hexdigest())
    await upload.write(AUDIO[1000:])
    assert await upload.commit() == SHA256


async def test_same_bytes_twice_are_one_blob(blobs: BlobStore) -> None:
    assert await stored(blobs, AUDIO) == await stored(blobs, AUDIO) == SHA256
    assert blobs.fetch(SHA256).read_bytes() == AUDIO


async def test_aborted_upload_leaves_nothing(blobs: BlobStore) -> None:
    upload = blobs.upload()
    await upload.write(AUDIO)
    path = await upload.path()
    await upload.abort()
    await upload.abort()
    assert not path.exists()
    with pytest.raises(BlobMissing):
        blobs.fetch(SHA256)


async def test_abort_after_a_commit_changes_nothing(blobs: BlobStore) -> None:
    upload = blobs.upload()
    await upload.write(AUDIO)
    await upload.commit()
    await upload.abort()
    assert blobs.fetch(SHA256).read_bytes() == AUDIO


@pytest.mark.parametrize("name", ["0" * 64, "../../etc/passwd", "", "A" * 64, "a" * 63, "a" * 64 + "/../../x"])
def test_unknown_blob_is_missing(blobs: BlobStore, name: str) -> None:
    with pytest.raises(BlobMissing):
        blobs.fetch(name)
