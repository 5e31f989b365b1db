"""A file on its way in."""

import os
from pathlib import Path

import pytest

from transcription.storage.part_file import PartFile
from transcription.storage.room import DiskRoom


def test_a_large_upload_reaches_the_disk_as_it_comes_and_not_all_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    file = PartFile(tmp_path / "a.part", DiskRoom(tmp_path, floor_bytes=0).promise(80 << 20))
    for _ in range(80):
        file.write(bytes(1 << 20))
    file.close()
    assert synced == [32 << 20, 64 << 20]
