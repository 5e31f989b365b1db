"""What tests of a native worker stand on: a platform that has none."""

from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from murmur.platform.local import PlatformConfig
from tests.free_port import free_port
from tests.platform import BLOBS_SECRET, TestPlatform
from transcription.settings import Blobs, Limits, Settings


@pytest.fixture(scope="module")
def api_alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestPlatform]:
    """A ledger with a password, and an API without a worker, which signs with BLOBS_SECRET."""
    settings = Settings(
        data_dir=tmp_path_factory.mktemp("api"),
        model="demo",
        limits=Limits(max_memory_percent=100, min_free_disk_bytes=0),
        blobs=Blobs(secret=SecretStr(BLOBS_SECRET)),
    )
    platform = TestPlatform(settings, PlatformConfig(workers=0, port=free_port()))
    try:
        platform.start()
        yield platform
    finally:
        platform.stop()
