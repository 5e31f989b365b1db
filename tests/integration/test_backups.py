"""Backups as they are taken: of a real ledger under writes, and of recordings that come and go."""

import io
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from redis import Redis
from typer.testing import CliRunner

from murmur.backup import links, snapshot, take
from murmur.backup.errors import BackupFailed
from murmur.backup.offsite import Bucket
from murmur.backup.schedule import Schedule
from murmur.backup.verify import verify
from murmur.cli.ledger import backup
from murmur.cli.main import app as cli
from tests.platform import eventually, ledger_binaries, running_ledger, stopped
from tests.unit.test_encryption import key_file
from transcription.encryption.files import PLAIN, file_encryption
from transcription.ledger import backup_record
from transcription.ledger.connections.clients import connect
from transcription.settings import Backup, Blobs, Encryption, Ledger, Settings
from transcription.storage.results import open_results


def settings_of(url: str, data_dir: Path, **parts: object) -> Settings:
    return Settings(data_dir=data_dir, ledger=Ledger(url=SecretStr(url)), **parts)  # type: ignore[arg-type]


def recording(blobs: Path, number: int, content: bytes = b"words") -> Path:
    name = f"{number:064x}"
    path = blobs / name[-2:] / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def restored(file: Path, into: Path) -> None:
    subprocess.run(["tar", "-C", into, "-xf", file], check=True)


@pytest.mark.parametrize("binary", sorted(ledger_binaries()))
@pytest.mark.parametrize("diskless", ["yes", "no"])
def test_a_backup_under_writes_is_the_ledger_at_one_moment(tmp_path: Path, binary: str, diskless: str) -> None:
    """Two counters that only move together are equal in every backup."""
    binary_path = ledger_binaries()[binary]
    with running_ledger(tmp_path / "ledger", binary_path) as server, Redis.from_url(server.url) as client:
        client.config_set("repl-diskless-sync", diskless)
        client.config_set("repl-diskless-sync-delay", 0)
        client.set("ballast", os.urandom(3 << 20))
        over = threading.Event()

        def write() -> None:
            with Redis.from_url(server.url) as writer:
                while not over.is_set():
                    writer.transaction(lambda pipe: (pipe.multi(), pipe.incr("one"), pipe.incr("two")))

        writing = threading.Thread(target=write)
        writing.start()
        try:
            eventually(lambda: int(client.get("one") or 0) > 10)  # type: ignore[arg-type]
            take.to_file(settings_of(server.url, tmp_path), PLAIN, tmp_path / "backup.tar")
        finally:
            over.set()
            writing.join()
        latest = int(client.get("one") or 0)  # type: ignore[arg-type]
        assert (
            "aof_rewrite_in_progress:0"
            in subprocess.run(
                ["redis-cli", "-u", server.url, "info", "persistence"], capture_output=True, text=True, check=True
            ).stdout
        )
    (tmp_path / "again").mkdir()
    restored(tmp_path / "backup.tar", tmp_path / "again")
    with running_ledger(tmp_path / "again", binary_path) as server, Redis.from_url(server.url) as client:
        one, two = (int(client.get(name) or 0) for name in ("one", "two"))  # type: ignore[arg-type]
        assert 10 < one == two <= latest
        assert client.strlen("ballast") == 3 << 20


def test_a_recording_that_is_deleted_while_the_backup_is_taken_is_in_it(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = tmp_path / "blobs"
    before = recording(blobs, 1)
    (blobs / "parts").mkdir()
    (blobs / "parts/x.part").write_bytes(b"not whole yet")
    real = snapshot.save

    def save(url: str, target: object, *, begun: object) -> int:
        before.unlink()
        recording(blobs, 2)
        written = real(url, target, begun=begun)  # type: ignore[arg-type]
        shutil.rmtree(blobs)
        return written

    monkeypatch.setattr(snapshot, "save", save)
    found = take.to_file(settings_of(redis_url, tmp_path), PLAIN, tmp_path / "backup.tar")
    assert found.recordings == 2
    restored(tmp_path / "backup.tar", tmp_path)
    assert sorted(path.name[-1] for path in blobs.glob("*/*")) == ["1", "2"]
    assert [path for path in tmp_path.glob(".backup-*") if path.is_dir()] == []


def test_recordings_are_copied_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording(tmp_path / "blobs", 3, b"a")

    def refused(*_: object) -> None:
        raise PermissionError(1, "no")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    links.hold(tmp_path / "blobs", tmp_path / "held")
    links.hold(tmp_path / "blobs", tmp_path / "held")
    (held,) = (path for path in (tmp_path / "held").glob("*/*"))
    assert held.read_bytes() == b"a"


def test_recordings_in_a_bucket_are_not_in_the_backup(tmp_path: Path, redis_url: str) -> None:
    recording(tmp_path / "blobs", 3)
    settings = settings_of(redis_url, tmp_path, blobs=Blobs(url="s3://elsewhere/here"))
    assert take.to_file(settings, PLAIN, tmp_path / "backup.tar").recordings == 0


@pytest.mark.parametrize("encrypted", [True, False])
def test_a_backup_of_which_any_byte_was_changed_or_lost_is_found_out(
    tmp_path: Path, redis_server: Redis, redis_url: str, encrypted: bool
) -> None:
    redis_server.set("key", os.urandom(3000))
    recording(tmp_path / "blobs", 4, os.urandom(3000))
    encryption = Encryption(key_file=str(key_file(tmp_path / "keys", "k1"))) if encrypted else Encryption()
    settings = settings_of(redis_url, tmp_path, encryption=encryption)
    files = file_encryption(settings)
    path = tmp_path / "backup.tar"
    take.to_file(settings, files, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    whole = path.read_bytes()
    content = [index for index in range(0, len(whole), 97) if any(whole[index : index + 16])]
    for index in content[:: max(1, len(content) // 40)]:
        if whole[index]:
            path.write_bytes(whole[:index] + bytes([whole[index] ^ 1]) + whole[index + 1 :])
            with path.open("rb") as file, pytest.raises(BackupFailed):
                verify(file, files)
    for cut in (0, 10, 600, len(whole) // 3, len(whole) // 2, *([len(whole) - 5] if encrypted else ())):
        path.write_bytes(whole[:cut])
        with path.open("rb") as file, pytest.raises(BackupFailed):
            verify(file, files)


def test_a_ledger_that_sends_no_snapshot_or_is_away_is_told_of(
    tmp_path: Path, redis_server: Redis, redis_url: str
) -> None:
    redis_server.execute_command("ACL", "SETUSER", "narrow", "on", ">secret", "~*", "+@all", "-sync")
    narrow = f"redis://narrow:secret@{redis_url.rpartition('@')[2].removeprefix('redis://')}"
    with pytest.raises(BackupFailed, match="sends no snapshot: NOPERM"):
        take.to_file(settings_of(narrow, tmp_path), PLAIN, tmp_path / "backup.tar")
    with pytest.raises(BackupFailed, match="snapshot failed: ConnectionError"):
        take.to_file(settings_of("redis://127.0.0.1:1/0", tmp_path), PLAIN, tmp_path / "backup.tar")
    assert not list(tmp_path.glob("*.tar*"))
    redis_server.execute_command("ACL", "DELUSER", "narrow")


def test_two_backups_of_one_directory_are_not_taken_at_once(tmp_path: Path, redis_url: str) -> None:
    settings = settings_of(redis_url, tmp_path)
    with take._staging(tmp_path), pytest.raises(BackupFailed, match="another backup"):
        take.to_file(settings, PLAIN, tmp_path / "backup.tar")
    (tmp_path / ".backup-killed").mkdir()
    take.to_file(settings, PLAIN, tmp_path / "backup.tar")
    assert not (tmp_path / ".backup-killed").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_command_leaves_nothing_behind_when_it_is_interrupted(
    tmp_path: Path, redis_server: Redis, redis_url: str, number: signal.Signals
) -> None:
    """Nor when it is interrupted again while it clears away: a terminal that closes tells a whole group, and again."""
    told = os.environ | {"MURMUR_LEDGER__URL": redis_url, "MURMUR_DATA_DIR": str(tmp_path)}
    program = [sys.executable, "-m", "murmur"]
    command = ["env", "--default-signal=INT", *program, "backup", "create", str(tmp_path / "backup.tar")]
    # It waits for a snapshot that doesn't come.
    with stopped(redis_server), subprocess.Popen(command, env=told, stderr=subprocess.DEVNULL) as backup:
        eventually(lambda: list(tmp_path.glob(".backup-*/ledger.rdb")), within_s=60)
        for again in islice(cycle((number, signal.SIGTERM, signal.SIGHUP)), 20_000):
            backup.send_signal(again)
            if backup.poll() is not None:
                break
            time.sleep(0.001)  # fine: as fast as signals come
        backup.kill()
    assert backup.returncode in {129, 130, 143}
    assert [path.name for path in tmp_path.iterdir()] == [".backup-lock"]


def test_a_signal_in_a_destructor_which_python_loses_ends_the_command_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Destroyed:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    lost: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: lost.append(what.exc_type))
    monkeypatch.setattr(backup, "AGAIN_S", 0.01)
    before = {number: signal.getsignal(number) for number in (*backup._ENDING, signal.SIGALRM)}
    signal.signal(signal.SIGTERM, backup._end)
    try:
        Destroyed()
        with pytest.raises(SystemExit, match="143"):
            threading.Event().wait(60)
        assert lost == [SystemExit]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def test_scheduled_backups_are_copied_to_the_bucket_and_only_the_newest_are_kept(
    tmp_path: Path, redis_url: str, bucket: str, bucket_endpoint: str
) -> None:
    plan = Backup(keep=2, url=bucket, endpoint=bucket_endpoint)
    settings = settings_of(redis_url, tmp_path, backup=plan)
    backups = tmp_path / "backups"
    backups.mkdir()
    (backups / "notes.tar").write_bytes(b"an operator's own")
    for day in ("01", "02"):
        (backups / f"murmuration-202601{day}T000000Z.tar").write_bytes(b"old")
        Bucket(bucket, endpoint=bucket_endpoint).put(backups / f"murmuration-202601{day}T000000Z.tar")
    with connect(settings.ledger) as client:
        schedule = Schedule(settings, PLAIN, client)
        pauses: list[float] = []

        def pause(length_s: float) -> bool:
            pauses.append(length_s)
            return len(pauses) > 1

        schedule.run(pause)
        last_at, every_s = backup_record.read(client.hgetall(backup_record.KEY))  # type: ignore[arg-type]
    assert pauses[0] == 0
    assert pauses[1] == pytest.approx(86_400, abs=120)
    assert abs(last_at - time.time()) < 120
    assert every_s == 86_400
    kept = sorted(path.name for path in backups.iterdir())
    assert len(kept) == 3
    assert "notes.tar" in kept
    assert "murmuration-20260102T000000Z.tar" in kept
    assert sorted(Bucket(bucket, endpoint=bucket_endpoint).names()) == [name for name in kept if name != "notes.tar"]


@pytest.mark.usefixtures("bucket")
def test_a_backup_whose_copy_does_not_arrive_counts_as_none_and_is_tried_again_soon(
    tmp_path: Path, redis_url: str, bucket_endpoint: str
) -> None:
    plan = Backup(keep=1, url="s3://nobody-made-this-one", endpoint=bucket_endpoint)
    settings = settings_of(redis_url, tmp_path, backup=plan)
    (tmp_path / "backups").mkdir()
    old = tmp_path / "backups/murmuration-20260101T000000Z.tar"
    old.write_bytes(b"the last good one")
    pauses: list[float] = []
    with connect(settings.ledger) as client:
        Schedule(settings, PLAIN, client).run(lambda length_s: pauses.append(length_s) or len(pauses) > 1)  # type: ignore[func-returns-value]
        assert backup_record.read(client.hgetall(backup_record.KEY)) == (0, 86_400)  # type: ignore[arg-type]
    assert pauses[1] <= 600
    assert old.exists()


def test_metrics_say_when_the_last_good_backup_was_taken(api: httpx.Client, redis_server: Redis) -> None:
    def figures() -> dict[str, float]:
        lines = api.get("/metrics/ledger").text.splitlines()
        return {
            name: float(value) for name, value in (line.split() for line in lines if line.startswith("murmur_backup"))
        }

    assert set(figures().values()) == {0.0}
    backup_record.taken(redis_server, 1000.5)
    backup_record.taken(redis_server, 999)
    backup_record.scheduled(redis_server, 3600)
    eventually(lambda: set(figures().values()) == {1000.5, 3600.0})
    backup_record.scheduled(redis_server, None)
    eventually(lambda: set(figures().values()) == {1000.5, 0.0})


def test_a_backup_that_says_it_is_of_the_future_keeps_no_alert_quiet(
    tmp_path: Path, redis_server: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("murmur.backup.take.time.time", lambda: 5e9)
    take.to_file(settings_of(redis_url, tmp_path), PLAIN, tmp_path / "backup.tar")
    monkeypatch.undo()
    told = os.environ | {"MURMUR_LEDGER__URL": redis_url, "MURMUR_DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "murmur", "backup", "verify", "--record", str(tmp_path / "backup.tar")]
    subprocess.run(command, env=told, check=True, capture_output=True)
    last_at, _ = backup_record.read(redis_server.hgetall(backup_record.KEY))  # type: ignore[arg-type]
    assert abs(last_at - time.time()) < 120


def test_one_backup_of_another_schedule_says_how_often_that_comes_round(
    tmp_path: Path, redis_url: str, redis_server: Redis
) -> None:
    """A CronJob: without it the alert wouldn't know when the last good one is too old."""
    env = {**os.environ, "MURMUR_BACKUP__DIR": str(tmp_path / "backups"), "MURMUR_BACKUP__EVERY_S": "7200"}
    command = [sys.executable, "-m", "murmur", "backup", "schedule", "--once"]
    ran = subprocess.run([*command, "--ledger", redis_url, "--data-dir", tmp_path], env=env, capture_output=True)  # noqa: PLW1510
    assert ran.returncode == 0, ran.stderr
    at, every = backup_record.read(redis_server.hgetall(backup_record.KEY))  # type: ignore[arg-type]
    assert at > 0
    assert every == 7200
    assert len(list((tmp_path / "backups").glob("murmuration-*.tar"))) == 1


def test_results_that_have_left_the_ledger_are_in_the_backup(tmp_path: Path, redis_url: str) -> None:
    settings = settings_of(redis_url, tmp_path / "data")
    store = open_results(settings)
    assert store is not None
    store.write("ab" * 16, b"what was said")
    take.to_file(settings, PLAIN, tmp_path / "backup.tar")
    (tmp_path / "restored").mkdir()
    restored(tmp_path / "backup.tar", tmp_path / "restored")
    shutil.rmtree(settings.blob_dir)
    shutil.copytree(tmp_path / "restored" / "blobs", settings.blob_dir)
    assert store.read("ab" * 16) == b"what was said"


def test_a_backup_is_never_written_over_another(tmp_path: Path, redis_url: str) -> None:
    file = tmp_path / "backup.tar"
    file.write_bytes(b"the only one")
    ran = CliRunner().invoke(cli, ["backup", "create", str(file), "--ledger", redis_url, "--data-dir", str(tmp_path)])
    assert ran.exit_code != 0
    assert "exists already" in str(ran.exception)
    assert file.read_bytes() == b"the only one"


def test_a_snapshot_that_is_cut_off_is_none(tmp_path: Path) -> None:
    """In either form in which a server sends one: of a length told before, or up to a mark."""
    mark = b"m" * 40

    def sent(content: bytes) -> io.BufferedReader:
        return io.BufferedReader(io.BytesIO(content))  # type: ignore[arg-type]

    with (tmp_path / "whole").open("wb") as target:
        assert snapshot._exactly(sent(b"REDIS content"), target, 5) == 5
        assert snapshot._until_mark(sent(b"content" + mark), target, mark) == 7
    assert (tmp_path / "whole").read_bytes() == b"REDIScontent"
    with pytest.raises(BackupFailed, match="cut off 3 bytes before its end"):
        snapshot._exactly(sent(b"REDIS"), io.BytesIO(), 8)
    with pytest.raises(BackupFailed, match="cut off before its end"):
        snapshot._until_mark(sent(b"content" + mark[:-1]), io.BytesIO(), mark)
