"""Scheduled backups without a platform: when one is due, what is tried again, what is deleted, what is on the disk."""

import errno
import os
import stat
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import fakeredis
import obstore
import pytest
from obstore.exceptions import GenericError

from murmur.backup import archive, links, offsite, schedule, take
from murmur.backup.errors import BackupFailed
from murmur.backup.schedule import RETRY_S, Schedule
from murmur.backup.verify import Verified
from tests.unit.test_hostile_backups import RDB
from transcription.encryption.files import PLAIN, FileEncryption
from transcription.errors import LedgerUnavailable, StorageUnavailable
from transcription.ledger import backup_record
from transcription.settings import Backup, Settings
from transcription.storage.s3 import S3Source

DAY_S = 86_400.0


class Bucket:
    """A bucket in memory, which can be away."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.error: Exception | None = None

    def put(self, path: Path) -> None:
        if self.error:
            raise self.error
        self.files.append(path.name)

    def names(self) -> list[str]:
        return list(self.files)

    def delete(self, name: str) -> None:
        self.files.remove(name)


class Site:
    """A schedule on a clock of its own, whose backups cost nothing; ``errors`` are what the next ones fail with."""

    def __init__(self, root: Path, *, keep: int = 2) -> None:
        self.now = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
        self.bucket = Bucket()
        self.taken: list[str] = []
        self.errors: list[Exception] = []
        self.ledger = fakeredis.FakeRedis(decode_responses=True)
        self.settings = Settings(data_dir=root, backup=Backup(keep=keep, url="s3://b", every_s=DAY_S))
        self.settings.backup_dir.mkdir()

    def to_file(self, _settings: Settings, _encryption: FileEncryption, path: Path) -> Verified:
        if self.errors:
            raise self.errors.pop(0)
        assert not path.exists()
        path.write_bytes(b"backup")
        self.taken.append(path.name)
        return Verified(self.now, 1, 6)

    def run(self, turns: int) -> list[float]:
        """How long it pauses before each of so many turns, and after the last."""
        pauses: list[float] = []

        def pause(length_s: float) -> bool:
            pauses.append(length_s)
            self.now += length_s + 1
            return len(pauses) > turns

        Schedule(self.settings, PLAIN, self.ledger).run(pause)
        return pauses

    def old(self, *days: int) -> list[str]:
        names = [f"murmuration-202601{day:02}T000000Z.tar" for day in days]
        for name in names:
            (self.settings.backup_dir / name).write_bytes(b"old")
        self.bucket.files += names
        return names

    def files(self) -> list[str]:
        return sorted(path.name for path in self.settings.backup_dir.iterdir())

    def recorded(self) -> tuple[float, float]:
        return backup_record.read(self.ledger.hgetall(backup_record.KEY))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    made = Site(tmp_path)
    clock = SimpleNamespace(now=lambda zone: datetime.fromtimestamp(made.now, zone), strptime=datetime.strptime)
    monkeypatch.setattr(schedule, "datetime", clock)
    monkeypatch.setattr(schedule, "time", SimpleNamespace(time=lambda: made.now))
    monkeypatch.setattr(take, "to_file", made.to_file)
    monkeypatch.setattr(schedule, "Bucket", lambda *_args, **_how: made.bucket)
    return made


def test_a_backup_is_due_when_the_newest_is_old_enough_and_at_once_where_there_is_none(site: Site) -> None:
    first, second, third = site.run(2)
    assert (first, second) == (0.0, pytest.approx(DAY_S, abs=5))
    assert third == pytest.approx(DAY_S, abs=5)
    assert len(site.taken) == 2
    assert site.recorded() == (pytest.approx(site.now - DAY_S, abs=5), DAY_S)
    # Another process begins: it doesn't take one just because it was started.
    assert site.run(0) == [pytest.approx(0, abs=5)]


def test_the_newest_are_kept_here_and_in_the_bucket_and_no_other_file_is_touched(site: Site) -> None:
    gone, stays = site.old(1, 2)
    (site.settings.backup_dir / "murmuration-of-mine.tar").write_bytes(b"an operator's own")
    site.bucket.files.append("notes.txt")
    site.run(1)
    assert site.files() == sorted([stays, site.taken[0], "murmuration-of-mine.tar"])
    assert sorted(site.bucket.files) == sorted([stays, site.taken[0], "notes.txt"])
    assert gone not in site.files()


@pytest.mark.parametrize(
    "error",
    [
        BackupFailed("no snapshot"),
        LedgerUnavailable("away", retry_after_s=1),
        StorageUnavailable("no key", retry_after_s=1),
        OSError(errno.ENOSPC, "no space left on device"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_backup_that_failed_is_tried_again_soon_and_the_schedule_goes_on(site: Site, error: Exception) -> None:
    site.errors = [error, error]
    pauses = site.run(4)
    assert pauses[:3] == [0.0, RETRY_S, RETRY_S]
    assert pauses[3:] == [pytest.approx(DAY_S, abs=5)] * 2
    assert len(site.taken) == 2


def test_while_the_bucket_is_away_nothing_is_deleted_nor_recorded_and_the_disk_does_not_fill(site: Site) -> None:
    old = site.old(1, 2)
    site.bucket.error = BackupFailed("the bucket is away")
    pauses = site.run(12)
    assert pauses[1:] == [RETRY_S] * 12
    assert site.files() == sorted([*old, *site.taken])
    assert len(site.taken) == 1
    assert site.recorded() == (0, DAY_S)
    site.bucket.error = None
    site.run(1)
    assert site.recorded()[0] > 0
    assert len(site.files()) == 2


def test_a_backup_that_could_not_be_copied_for_a_day_is_taken_anew(site: Site) -> None:
    site.bucket.error = BackupFailed("the bucket is away")
    site.run(round(DAY_S / RETRY_S) + 2)
    assert len(site.taken) == 2


def stream(_settings: Settings, encryption: FileEncryption, target: BinaryIO, *, blobs: Path) -> None:
    """A whole backup of nothing."""
    blobs.mkdir(exist_ok=True)
    (ledger := blobs.with_name("ledger.rdb")).write_bytes(RDB)
    archive.write(target, encryption, ledger=ledger, blobs=blobs, made_at=1.5e9)


def test_a_backup_has_its_name_when_it_is_whole_on_the_disk_and_is_its_owner_s_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, int]] = []
    fsync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        steps.append(("synced", os.fstat(descriptor).st_ino))
        fsync(descriptor)

    def replaced(path: Path, target: Path) -> Path:
        steps.append(("named", path.stat().st_ino))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    monkeypatch.setattr(take, "stream", partial(stream, blobs=tmp_path / "blobs"))
    path = tmp_path / "backups" / "one.tar"
    assert take.to_file(Settings(data_dir=tmp_path), PLAIN, path).made_at == 1.5e9
    file, folder = path.stat(), path.parent.stat()
    assert steps == [("synced", file.st_ino), ("named", file.st_ino), ("synced", folder.st_ino)]
    assert (stat.S_IMODE(file.st_mode), stat.S_IMODE(folder.st_mode)) == (0o600, 0o700)


@pytest.mark.parametrize("written", [b"", b"half of it", RDB])
def test_what_is_no_backup_gets_no_name_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: bytes
) -> None:
    monkeypatch.setattr(take, "stream", lambda _settings, _encryption, target: target.write(written))
    path = tmp_path / "backups" / "one.tar"
    with pytest.raises(BackupFailed):
        take.to_file(Settings(data_dir=tmp_path), PLAIN, path)
    assert list(path.parent.iterdir()) == []


def test_what_a_killed_backup_left_goes_with_the_next_one(tmp_path: Path) -> None:
    left = tmp_path / ".backup-killed" / "blobs" / "ab"
    left.mkdir(parents=True)
    (left / "recording").write_bytes(b"linked")
    with take._staging(tmp_path) as staging:
        assert not left.exists()
        assert staging.is_dir()
        with pytest.raises(BackupFailed, match="another backup"), take._staging(tmp_path):
            raise AssertionError
    assert [path.name for path in tmp_path.iterdir()] == [".backup-lock"]


def recordings(root: Path, *names: str) -> Path:
    for name in names:
        (path := root / name).parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root


@pytest.mark.parametrize("way", ["linked", "copied"])
def test_recordings_and_results_are_held_but_for_those_that_go_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    blobs = recordings(tmp_path / "blobs", "aa/going", "aa/staying", "results/bb/result", "parts/upload.part")
    hardlink_to = Path.hardlink_to

    def linked(path: Path, source: Path) -> None:
        if path.name == "going":
            source.unlink()
        if way == "copied":
            raise OSError(errno.EXDEV, "another file system")
        hardlink_to(path, source)

    monkeypatch.setattr(Path, "hardlink_to", linked)
    for _ in range(2):  # before the snapshot, and after its moment
        links.hold(blobs, tmp_path / "held")
    held = {str(path.relative_to(tmp_path / "held")) for path in (tmp_path / "held").rglob("*") if path.is_file()}
    assert held == {"aa/staying", "results/bb/result"}
    (blobs / "aa/staying").unlink()
    assert (tmp_path / "held/aa/staying").read_bytes() == b"aa/staying"


def test_links_among_the_recordings_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"another's")
    blobs = recordings(tmp_path / "blobs", "aa/staying")
    (blobs / "aa" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "ledger.rdb").write_bytes(RDB)
    with (tmp_path / "one.tar").open("wb") as file:
        archive.write(file, PLAIN, ledger=tmp_path / "ledger.rdb", blobs=blobs, made_at=1.5e9)
    assert b"another's" not in (tmp_path / "one.tar").read_bytes()
    assert b"aa/staying" in (tmp_path / "one.tar").read_bytes()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Sizes of what a store of S3 has, by name; it takes what is put there, unless something is there already."""
    there: dict[str, int] = {}
    monkeypatch.setattr(obstore, "put", lambda _store, name, path: there.setdefault(name, path.stat().st_size))
    monkeypatch.setattr(obstore, "head", lambda _store, name: {"size": there[name]})
    return there


def test_a_copy_that_was_cut_is_no_copy(tmp_path: Path, s3: dict[str, int]) -> None:
    (path := tmp_path / "one.tar").write_bytes(b"backup")
    offsite.Bucket("s3://b/folder").put(path)
    s3["one.tar"] = 3
    with pytest.raises(BackupFailed, match="has 3 bytes"):
        offsite.Bucket("s3://b/folder").put(path)


@pytest.mark.parametrize("error", [GenericError("no route\nand more"), OSError("no file"), ValueError("no name")])
def test_whatever_a_bucket_says_is_a_backup_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(obstore, "put", fail)
    with pytest.raises(BackupFailed, match=r"the bucket s3://b can't be used"):
        offsite.Bucket("s3://b").put(tmp_path / "one.tar")


def test_a_variable_that_compose_passes_on_empty_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION")
    for name in names:
        monkeypatch.setenv(name, "")
    offsite.Bucket("s3://b")
    assert not os.environ.keys() & set(names)


@pytest.mark.parametrize("endpoint", ["", "http://127.0.0.1:9000", "https://minio.example"])
@pytest.mark.parametrize("folder", ["", "some/folder"])
def test_a_bucket_is_amazon_s_own_or_another_server_s_and_may_be_a_folder_of_one(endpoint: str, folder: str) -> None:
    url = f"s3://b/{folder}" if folder else "s3://b"
    for store in (offsite.Bucket(url, endpoint=endpoint)._store, S3Source(url, endpoint=endpoint).store):
        assert (store.prefix or "", store.config["bucket"]) == (folder, "b")
        assert store.config.get("endpoint", "") == endpoint
