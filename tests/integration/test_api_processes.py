"""Several processes of one API on one port: they share the work, count together, replace the dead and stop in order."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from api import processes
from murmur.platform.ledger_server import LedgerServer
from tests import audio_files
from tests.api_processes import Api, sample, two_processes
from tests.live_api import ROOT
from tests.platform import eventually, running_ledger
from tests.processes import runs


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LedgerServer]:
    with running_ledger(tmp_path_factory.mktemp("ledger")) as server:
        yield server


def test_processes_share_a_port_count_together_replace_the_dead_and_stop_in_order(
    ledger: LedgerServer, tmp_path: Path
) -> None:
    """One platform for all of it: each start takes seconds."""
    with two_processes(ledger, tmp_path) as api:
        _counted_together(api)
        _dead_one_is_replaced(api)
        _one_that_stops_by_itself_is_replaced(api)
        _long_poll_is_answered_at_the_stop(api)


def _counted_together(api: Api) -> None:
    asked = 40
    for _ in range(asked):  # each on a connection of its own, so that the kernel chooses
        assert api.get(f"/v1/jobs/{'0' * 32}").status_code == 404
    text = api.get("/metrics").text
    assert sample(text, 'murmur_http_requests_total{method="GET",route="/v1/jobs/{job_id}",status="404"}') == asked
    family = [psutil.Process(api.process.pid), *api.children()]
    resident = sum(one.memory_info().rss for one in family)
    assert sample(text, "process_resident_memory_bytes") == pytest.approx(resident, rel=0.3)
    assert sample(text, "process_start_time_seconds") == pytest.approx(family[0].create_time(), abs=1)
    assert sample(text, "process_cpu_seconds_total") >= sum(sum(one.cpu_times()[:2]) for one in family) / 2
    assert sample(text, "murmur_api_process_starts_total") == 2
    # Each of them asked the ledger, and brings what it counted to the others' within its next tick.
    eventually(lambda: api.metric("murmur_ledger_answer_duration_seconds_count") >= asked)
    assert sample(text, "murmur_event_loop_lag_seconds_count") > 0
    served = [one for one in api.children() if sum(one.cpu_times()[:2]) > 0]
    assert len(served) == 2
    job = httpx.post(f"{api.url}/v1/jobs", files={"file": ("a.wav", audio_files.wav())}, timeout=60).json()["id"]
    assert all(api.get(f"/v1/jobs/{job}").status_code == 200 for _ in range(10))
    few = httpx.get(f"{api.url}/metrics", headers={"accept": "application/json"}, timeout=60).json()
    assert few["accepted_requests"] == 1
    assert few["avg_processing_time_ms"] > 0


def _dead_one_is_replaced(api: Api) -> None:
    first, second = api.children()
    first.send_signal(signal.SIGKILL)
    eventually(lambda: len(api.children()) == 2 and first not in api.children(), within_s=30)
    eventually(lambda: api.starts() == 3, within_s=60)
    assert second in api.children()
    assert api.metric('murmur_http_requests_total{method="GET",route="/v1/jobs/{job_id}",status="404"}') == 40


def _one_that_stops_by_itself_is_replaced(api: Api) -> None:
    """The next one has its socket, and hears whoever comes."""
    one = api.children()[0]
    one.terminate()
    eventually(lambda: len(api.children()) == 2 and one not in api.children(), within_s=30)
    eventually(lambda: api.starts() == 4, within_s=60)
    for _ in range(40):  # the kernel chooses
        assert httpx.get(f"{api.url}/health/live", timeout=10).status_code == 200


def _long_poll_is_answered_at_the_stop(api: Api) -> None:
    job = httpx.post(f"{api.url}/v1/jobs", files={"file": ("a.wav", audio_files.wav(2.0))}, timeout=60).json()["id"]
    with socket.create_connection(("127.0.0.1", int(api.url.rpartition(":")[2]))) as waiting:
        waiting.sendall(f"GET /v1/jobs/{job}?wait=3 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
        eventually(lambda: api.in_flight() >= 2)  # this question's own is one of them
        api.process.terminate()
        eventually(lambda: not api.answers(), within_s=10)
        waiting.settimeout(20)
        answer = b"".join(iter(lambda: waiting.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 200")
    assert api.process.wait(30) == 0


def test_processes_of_a_parent_that_was_killed_end_too(ledger: LedgerServer, tmp_path: Path) -> None:
    with two_processes(ledger, tmp_path) as api:
        children = api.children()
        api.process.kill()
        eventually(lambda: not any(map(runs, children)), within_s=30)


def test_port_that_somebody_else_has_is_not_shared() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            processes.listeners("127.0.0.1", taken.getsockname()[1], 2)


def test_process_that_dies_again_and_again_ends_all_with_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "FIRST_PAUSE_S", 0.01)
    bound = processes.listeners("127.0.0.1", 0, 2)
    began = time.monotonic()
    status = processes.Processes(bound, lambda *_: [sys.executable, "-c", "raise SystemExit(7)"], stop_s=1).run()
    assert status == 7
    assert time.monotonic() - began < 60
    assert processes._SHARED_FIGURES not in os.environ


def test_the_parent_loads_nothing_of_the_application_that_its_processes_serve() -> None:
    heavy = "{'api.app', 'fastapi', 'celery', 'redis', 'numpy'}"
    code = f"import sys; import api.main; print(sorted({heavy} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
