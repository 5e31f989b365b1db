"""A file on its way in."""

import hashlib
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


def test_an_upload_is_its_owner_s_and_group_s_alone_and_whole_though_the_disk_takes_little_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, write = os.urandom(100), os.write
    file = PartFile(tmp_path / "a.part", DiskRoom(tmp_path, floor_bytes=0).promise(len(content)))
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
        assert file.write(content) == len(content)
    file.close()
    assert file.path.read_bytes() == content
    assert file.sha256 == hashlib.sha256(content).hexdigest()
    assert file.path.stat().st_mode & 0o007 == 0
