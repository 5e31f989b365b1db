"""Backup and restore as their scripts are written, on a real ledger; a `docker` in its place runs all of it here."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from redis import Redis

from tests.platform import eventually, running_ledger
from tests.unit.test_encryption import key_file

ROOT = Path(__file__).parents[2]
SHA256 = "ab" + "0" * 62
# `docker compose exec|run … SERVICE COMMAND…`, with /data as a directory of each service.
DOCKER = """#!/bin/bash
shift; verb=$1; shift
case $verb in
    config) tr ' ' '\\n' <<<"$SERVICES"; exit ;;
    stop) for one in "$@"; do [[ " $SERVICES " == *" $one "* ]] || { echo "no such service: $one" >&2; exit 1; }; done
        echo "stop $*" >>"$FAKE/calls"; exit ;;
    up) exit ;;
esac
entry=
while [[ $1 == -* ]]; do [[ $1 == --entrypoint ]] && { entry=$2; shift; }; shift; done
service=$1; shift
echo "$verb $service $*" >>"$FAKE/calls"
if [[ -n $FAIL && "$*" == *"$FAIL"* ]]; then head -c 100 /dev/zero; exit 1; fi
if [[ -n $HANG && "$*" == *"$HANG"* ]]; then head -c 100 /dev/zero; exec sleep 60; fi
exec ${entry:+"$entry"} "${@//\\/data/$FAKE/$service}"
"""


@pytest.fixture
def world(tmp_path: Path, redis_server: Redis) -> Path:
    """A directory with a `docker`, and what the API has on its disk; the ledger holds something."""
    redis_server.set("said", "what was said " * 1000)
    for name in ("redis", f"api/blobs/{SHA256[:2]}", "bin"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / f"api/blobs/{SHA256[:2]}/{SHA256}").write_bytes(b"a recording " * 1000)
    (tmp_path / "bin/docker").write_text(DOCKER)
    (tmp_path / "bin/murmur").write_text(f'#!/bin/sh\nexec {sys.executable} -m murmur "$@"\n')
    for name in ("docker", "murmur"):
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "bin/python").symlink_to(sys.executable)
    return tmp_path


def environment(world: Path, url: str, **settings: str) -> dict[str, str]:
    return {
        "PATH": f"{world / 'bin'}:{os.environ['PATH']}",
        "FAKE": str(world),
        "SERVICES": "nginx edge-settings api worker models redis redis-cache prometheus",
        "PYTHONPATH": str(ROOT),
        "MURMUR_LEDGER__URL": url,
        "MURMUR_DATA_DIR": str(world / "api"),
    } | settings


def run(world: Path, url: str, script: str, **settings: str) -> subprocess.CompletedProcess[str]:
    command = ["/bin/sh", str(ROOT / "deploy" / script), str(world / "backup")]
    told = environment(world, url, **settings)
    return subprocess.run(command, env=told, capture_output=True, text=True, timeout=60, check=False)


def keys(world: Path, name: str) -> dict[str, str]:
    return {"MURMUR_ENCRYPTION__KEY_FILE": str(key_file(world / f"keys-{name}", name))}


@pytest.mark.parametrize("encrypted", [True, False])
def test_a_backup_is_encrypted_where_keys_are_named_and_brings_everything_back(
    world: Path, redis_url: str, encrypted: bool
) -> None:
    settings = keys(world, "k1") if encrypted else {}
    saved = run(world, redis_url, "backup.sh", **settings)
    assert saved.returncode == 0, saved.stderr
    (stored,) = (world / "backup").iterdir()
    assert stat.S_IMODE(stored.stat().st_mode) == 0o600
    assert (b"a recording" in stored.read_bytes()) is not encrypted
    shutil.rmtree(world / "api/blobs")
    restored = run(world, redis_url, "restore.sh", **settings)
    assert restored.returncode == 0, restored.stderr
    assert (world / f"api/blobs/{SHA256[:2]}/{SHA256}").read_bytes() == b"a recording " * 1000
    with running_ledger(world / "redis") as server, Redis.from_url(server.url) as client:
        assert client.get("said") == b"what was said " * 1000


def test_a_backup_that_was_cut_or_needs_another_key_is_refused_before_anything_is_touched(
    world: Path, redis_url: str
) -> None:
    settings = keys(world, "k1")
    assert run(world, redis_url, "backup.sh", **settings).returncode == 0
    assert run(world, redis_url, "restore.sh", **keys(world, "k9")).returncode != 0
    whole = (world / "backup/backup.tar").read_bytes()
    (world / "backup/backup.tar").write_bytes(whole[:-20])
    refused = run(world, redis_url, "restore.sh", **settings)
    assert refused.returncode != 0
    assert "can't be read" in refused.stderr
    assert (world / f"api/blobs/{SHA256[:2]}/{SHA256}").exists()


def test_a_backup_of_an_earlier_version_can_still_be_restored(world: Path, redis_url: str) -> None:
    (world / "backup").mkdir()
    (world / "redis/appendonlydir").mkdir()
    (world / "redis/appendonlydir/a.aof").write_text("what was said")
    for name, where, what in (("ledger", "redis", "appendonlydir"), ("blobs", "api", "blobs")):
        subprocess.run(["tar", "-C", world / where, "-cf", world / f"backup/{name}.tar", what], check=True)
        shutil.rmtree(world / where / what)
    restored = run(world, redis_url, "restore.sh")
    assert restored.returncode == 0, restored.stderr
    assert (world / "redis/appendonlydir/a.aof").read_text() == "what was said"
    assert (world / f"api/blobs/{SHA256[:2]}/{SHA256}").exists()


@pytest.mark.parametrize("there", ["nginx api worker redis", "nginx api redis"])
def test_what_holds_the_data_is_stopped_before_it_is_replaced_without_a_worker_too(
    world: Path, redis_url: str, there: str
) -> None:
    """On a Mac the worker isn't the stack's."""
    services = {"SERVICES": f"{there} prometheus"}
    assert run(world, redis_url, "backup.sh", **services).returncode == 0
    (world / "calls").unlink()
    restored = run(world, redis_url, "restore.sh", **services)
    assert restored.returncode == 0, restored.stderr
    calls = (world / "calls").read_text().splitlines()
    (stopped,) = (at for at, call in enumerate(calls) if call.startswith("stop "))
    replaced = [at for at, call in enumerate(calls) if "rm -rf" in call]
    assert sorted(calls[stopped].split()[1:]) == sorted(there.split())
    assert len(replaced) == 2
    assert stopped < min(replaced)


@pytest.mark.parametrize("form", ["backup", "earlier"])
def test_a_backup_with_a_link_is_refused_before_anything_is_touched(world: Path, redis_url: str, form: str) -> None:
    assert run(world, redis_url, "backup.sh").returncode == 0
    link = tarfile.TarInfo("blobs/ab")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc"
    stored = world / "backup/backup.tar"
    if form == "earlier":
        stored.unlink()
        for name, member in (("ledger", tarfile.TarInfo("appendonlydir/a.aof")), ("blobs", link)):
            (world / f"backup/{name}.tar").write_bytes(member.tobuf())
    else:
        stored.write_bytes(link.tobuf() + stored.read_bytes())
    refused = run(world, redis_url, "restore.sh")
    assert refused.returncode != 0
    assert "a symbolic link" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert (world / f"api/blobs/{SHA256[:2]}/{SHA256}").exists()


@pytest.mark.parametrize("step", ["create", "verify"])
def test_a_backup_that_fails_says_so_and_leaves_no_file(world: Path, redis_url: str, step: str) -> None:
    failed = run(world, redis_url, "backup.sh", FAIL=f"backup {step}")
    assert failed.returncode == 1
    assert "isn't whole" in failed.stderr
    assert list((world / "backup").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_an_interrupted_backup_ends_at_once_and_changes_and_leaves_nothing(
    world: Path, redis_server: Redis, redis_url: str, number: signal.Signals, shell: str
) -> None:
    before = redis_server.config_get("*aof*")
    # A runner in the background ignores SIGINT, one under nohup SIGHUP, and its children would inherit that.
    command = ["env", "--default-signal=INT,HUP", shell, str(ROOT / "deploy/backup.sh"), str(world / "backup")]
    with subprocess.Popen(command, env=environment(world, redis_url, HANG="backup create")) as script:
        part = world / "backup/.backup.tar.part"
        eventually(lambda: part.exists() and part.stat().st_size == 100)
        script.send_signal(number)
        assert script.wait(20) == 128 + number
    assert list((world / "backup").iterdir()) == []
    assert redis_server.config_get("*aof*") == before
