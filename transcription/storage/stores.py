"""The blob store that the settings name."""

from transcription.encryption.files import file_encryption
from transcription.ports import BlobStore
from transcription.settings import Settings
from transcription.storage.cached import CachedBlobs
from transcription.storage.disk import DiskBlobs
from transcription.storage.s3 import S3Source
from transcription.storage.signed_links import ApiSource


def open_blobs(settings: Settings) -> BlobStore:
    """Blobs on the disk, in a bucket, or at the API, as `blobs.url` says; the last two with a cache on the disk."""
    url, floor = settings.blobs.url, settings.limits.min_free_disk_bytes
    encryption = file_encryption(settings)
    if not url:
        return DiskBlobs(settings.blob_dir, floor_bytes=floor, encryption=encryption)
    disk = DiskBlobs(settings.copy_dir, floor_bytes=floor, encryption=encryption)
    if url.startswith("s3://"):
        return CachedBlobs(
            disk, S3Source(url, endpoint=settings.blobs.endpoint), cache_bytes=settings.blobs.cache_bytes
        )
    source = ApiSource(url, secret=settings.blobs.signing_key())
    return CachedBlobs(disk, source, cache_bytes=settings.blobs.cache_bytes)
