"""The worker's health check: what a heartbeat file says, and that a real worker's thread writes it."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.ledger_worker import LedgerWorker
from tests.platform import eventually
from transcription.ledger.connections.clients import connect
from transcription.ledger.span_store import RedisSpans
from transcription.settings import Lease, Settings
from worker import health_check
from worker.leases import Leases

CHECK = Path(health_check.__file__)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where heartbeats are written, by the tests and by the check that they run."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def check(*words: str) -> tuple[int, str]:
    """Run it as the image does."""
    ran = subprocess.run(
        [sys.executable, "-IS", str(CHECK), *words], capture_output=True, text=True, check=False, timeout=30
    )
    assert not ran.stderr
    return ran.returncode, ran.stdout


def seen_ago(name: str, seconds: float) -> None:
    health_check.beat(name)
    path = health_check.heartbeat_file(name)
    path.write_text(json.dumps({"at": time.monotonic() - seconds, "quarantine": ""}))


def test_worker_whose_heart_beats_is_well() -> None:
    before = time.monotonic()
    health_check.beat("w1@host")
    status, said = check("w1@host")
    age = re.fullmatch(r"w1@host: last heartbeat (\d+) s ago\n", said)
    assert status == 0
    assert age is not None
    assert 0 <= int(age[1]) <= time.monotonic() - before + 0.5


def test_age_of_a_heartbeat_is_told_in_seconds() -> None:
    seen_ago("w1@host", 30)
    assert re.search(r"heartbeat (3\d|4\d|5\d) s ago", check("w1@host")[1])


@pytest.mark.parametrize(("age_s", "status"), [(5, 0), (40, 0), (80, 1), (3600, 1)])
def test_worker_that_has_been_silent_for_a_minute_is_not(age_s: float, status: int) -> None:
    seen_ago("w1", age_s)
    assert check("w1")[0] == check("w1", "--alive")[0] == status


def test_heartbeat_of_before_the_host_was_started_counts_for_nothing() -> None:
    seen_ago("w1", -1e6)
    assert check("w1")[0] == 1


def test_worker_that_never_wrote_or_has_left_is_not_well() -> None:
    health_check.beat("another")
    assert check("w1")[0] == 1
    health_check.beat("w1")
    health_check.end("w1")
    status, said = check("w1")
    assert (status, "yet" in said) == (1, True)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"at": "soon", "quarantine": ""}'])
def test_file_that_is_no_heartbeat_is_none(content: str) -> None:
    health_check.heartbeat_file("w1").write_text(content)
    assert check("w1")[0] == 1


def test_worker_in_quarantine_is_not_well_but_alive() -> None:
    health_check.beat("w1", quarantine="storage: gone")
    status, said = check("w1")
    assert (status, "in quarantine: storage: gone" in said) == (health_check.ALIVE, True)
    assert check("w1", "--alive")[0] == 0


def test_container_asks_for_the_name_that_its_worker_has() -> None:
    assert check()[0] == 1
    health_check.beat(f"worker@{socket.gethostname()}")
    assert check()[0] == 0


def test_link_that_somebody_else_has_left_leads_to_no_other_file(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    path = health_check.heartbeat_file("w1")
    path.symlink_to(victim)
    path.with_name(f"{path.name}.{os.getpid()}").symlink_to(victim)
    health_check.beat("w1")
    assert victim.read_text() == "mine"
    assert check("w1")[0] == 0


@pytest.mark.parametrize("reachable", [True, False])
def test_thread_of_leases_writes_heartbeats_with_and_without_a_ledger(redis_url: str, reachable: bool) -> None:
    lease = Lease(renew_s=0.1)
    with connect(Settings(ledger={"url": redis_url}).ledger) as client:
        spans = RedisSpans(client, Settings(ledger={"url": redis_url}))
        known = LedgerWorker(spans, "w1").info
    url = redis_url if reachable else "redis://127.0.0.1:1/0"
    with connect(Settings(ledger={"url": url}).ledger) as client:
        spans = RedisSpans(client, Settings(ledger={"url": url}))
        info = replace(known, quarantine="scratch: full")
        leases = Leases(spans, lease, steps=lambda: 0, info=lambda running: replace(info, running=running))
        leases.start()
        eventually(lambda: "quarantine: scratch: full" in check("w1")[1])
        health_check.heartbeat_file("w1").unlink()
        eventually(lambda: check("w1", "--alive")[0] == 0)
        leases.stop()
        leases.join(30)
    assert not health_check.heartbeat_file("w1").exists()
