"""Backup and restore as their scripts are written, with a `docker` in its place that runs everything here."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.test_encryption import key_file

ROOT = Path(__file__).parents[2]
# `docker compose exec|run … SERVICE COMMAND…`, with /data as a directory of each service.
DOCKER = """#!/bin/bash
shift; verb=$1; shift
case $verb in stop|up) exit 0 ;; esac
entry=
while [[ $1 == -* ]]; do [[ $1 == --entrypoint ]] && { entry=$2; shift; }; shift; done
service=$1; shift
echo "$verb $service $*" >>"$FAKE/calls"
if [[ $1 == redis-cli ]]; then echo 100; exit 0; fi
if [[ -n $FAIL && "$*" == *"$FAIL"* ]]; then head -c 100 /dev/zero; exit 1; fi
exec ${entry:+"$entry"} "${@//\\/data/$FAKE/$service}"
"""


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A directory with a `docker`, and what two services have on their disks."""
    for name in ("redis/appendonlydir", "api/blobs", "bin"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "redis/appendonlydir/a.aof").write_text("what was said " * 1000)
    (tmp_path / "api/blobs/x").write_bytes(b"a recording " * 1000)
    (tmp_path / "bin/docker").write_text(DOCKER)
    (tmp_path / "bin/docker").chmod(0o755)
    (tmp_path / "bin/python").symlink_to(sys.executable)
    return tmp_path


def run(world: Path, script: str, *, fail: str = "", **settings: str) -> subprocess.CompletedProcess[str]:
    told = {"PATH": f"{world / 'bin'}:{os.environ['PATH']}", "FAKE": str(world), "FAIL": fail, "PYTHONPATH": str(ROOT)}
    command = ["/bin/sh", str(ROOT / "deploy" / script), str(world / "backup")]
    return subprocess.run(command, env=told | settings, capture_output=True, text=True, timeout=60, check=False)


def lost(world: Path) -> None:
    for name in ("redis/appendonlydir", "api/blobs"):
        shutil.rmtree(world / name)


@pytest.mark.parametrize("keys", [True, False])
def test_a_backup_is_encrypted_where_keys_are_named_and_brings_everything_back(world: Path, keys: bool) -> None:
    settings = {"MURMUR_ENCRYPTION__KEY_FILE": str(key_file(world / "keys", "k1"))} if keys else {}
    saved = run(world, "backup.sh", **settings)
    assert saved.returncode == 0, saved.stderr
    stored = (world / "backup/ledger.tar").read_bytes() + (world / "backup/blobs.tar").read_bytes()
    assert (b"what was said" in stored) is not keys
    assert (b"a recording" in stored) is not keys
    lost(world)
    restored = run(world, "restore.sh", **settings)
    assert restored.returncode == 0, restored.stderr
    assert (world / "redis/appendonlydir/a.aof").read_text() == "what was said " * 1000
    assert (world / "api/blobs/x").read_bytes() == b"a recording " * 1000


def test_a_backup_that_was_cut_or_needs_another_key_is_refused_before_anything_is_touched(world: Path) -> None:
    settings = {"MURMUR_ENCRYPTION__KEY_FILE": str(key_file(world / "keys", "k1"))}
    assert run(world, "backup.sh", **settings).returncode == 0
    other = {"MURMUR_ENCRYPTION__KEY_FILE": str(key_file(world / "others", "k9"))}
    assert run(world, "restore.sh", **other).returncode != 0
    whole = (world / "backup/blobs.tar").read_bytes()
    (world / "backup/blobs.tar").write_bytes(whole[:-20])
    refused = run(world, "restore.sh", **settings)
    assert refused.returncode != 0
    assert "stream:" in refused.stderr
    assert (world / "redis/appendonlydir/a.aof").exists()
    assert (world / "api/blobs/x").exists()


def test_a_backup_whose_copying_fails_says_so(world: Path) -> None:
    failed = run(world, "backup.sh", fail="appendonlydir")
    assert failed.returncode == 1
    assert "isn't whole" in failed.stderr
