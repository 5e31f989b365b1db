"""Several processes of one API on one port: they share the work, count together, replace the dead and stop in order."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from api import processes
from murmur.platform.ledger_server import LedgerServer, free_port
from tests import audio_files
from tests.live_api import ROOT
from tests.platform import eventually, running_ledger


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LedgerServer]:
    with running_ledger(tmp_path_factory.mktemp("ledger")) as server:
        yield server


class Api:
    """An API of several processes."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"

    def children(self) -> list[psutil.Process]:
        return [one for one in psutil.Process(self.process.pid).children() if one.status() != psutil.STATUS_ZOMBIE]

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health/live").status_code == 200
        except httpx.TransportError:
            return False

    def all_answer(self) -> bool:
        """Every child listens for itself: ask on new connections until all have been met."""
        return all(one.num_threads() > 1 and _serves(one) for one in self.children()) and len(self.children()) == 2


def _serves(process: psutil.Process) -> bool:
    return any(one.status == psutil.CONN_LISTEN for one in process.net_connections("tcp"))


@contextmanager
def two_processes(ledger: LedgerServer, directory: Path) -> Iterator[Api]:
    port = free_port()
    own = {
        "MODEL": "demo",
        "DATA_DIR": str(directory),
        "LEDGER__URL": ledger.url,
        "LIMITS__MIN_FREE_DISK_BYTES": "0",
        "LIMITS__MAX_MEMORY_PERCENT": "100",
        "API__HOUSEKEEPING": "false",
        "API__PROCESSES": "2",
        "API__STOP_S": "10",
        "API__PORT": str(port),
    }
    environment = os.environ | {f"MURMUR_{name}": value for name, value in own.items()}
    process = subprocess.Popen([sys.executable, "-m", "api.main"], cwd=ROOT, env=environment)
    api = Api(process, port)
    try:
        eventually(lambda: api.answers() and api.all_answer(), within_s=60, every_s=0.1)
        yield api
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(30)


def test_processes_share_a_port_count_together_replace_the_dead_and_stop_in_order(
    ledger: LedgerServer, tmp_path: Path
) -> None:
    """One platform for all of it: each start takes seconds."""
    with two_processes(ledger, tmp_path) as api:
        _counted_together(api)
        _dead_one_is_replaced(api)
        _long_poll_is_answered_at_the_stop(api)


def _counted_together(api: Api) -> None:
    asked = 40
    for _ in range(asked):  # each on a connection of its own, so that the kernel chooses
        assert httpx.get(f"{api.url}/v1/jobs/{'0' * 32}").status_code == 404
    text = httpx.get(f"{api.url}/metrics").text
    assert _sample(text, 'murmur_http_requests_total{method="GET",route="/v1/jobs/{job_id}",status="404"}') == asked
    family = [psutil.Process(api.process.pid), *api.children()]
    resident = sum(one.memory_info().rss for one in family)
    assert _sample(text, "process_resident_memory_bytes") == pytest.approx(resident, rel=0.3)
    assert _sample(text, "process_start_time_seconds") == pytest.approx(family[0].create_time(), abs=1)
    assert _sample(text, "process_cpu_seconds_total") >= sum(sum(one.cpu_times()[:2]) for one in family) / 2
    assert _sample(text, "murmur_api_process_starts_total") == 2
    served = [one for one in api.children() if sum(one.cpu_times()[:2]) > 0]
    assert len(served) == 2
    job = httpx.post(f"{api.url}/v1/jobs", files={"file": ("a.wav", audio_files.wav())}, timeout=60).json()["id"]
    assert all(httpx.get(f"{api.url}/v1/jobs/{job}").status_code == 200 for _ in range(10))
    few = httpx.get(f"{api.url}/metrics", headers={"accept": "application/json"}).json()
    assert few["accepted_requests"] == 1
    assert few["avg_processing_time_ms"] > 0


def _dead_one_is_replaced(api: Api) -> None:
    first, second = api.children()
    first.send_signal(signal.SIGKILL)
    eventually(lambda: len(api.children()) == 2 and first not in api.children(), within_s=30)
    eventually(api.all_answer, within_s=60)
    assert second in api.children()
    text = httpx.get(f"{api.url}/metrics").text
    assert _sample(text, 'murmur_http_requests_total{method="GET",route="/v1/jobs/{job_id}",status="404"}') == 40


def _long_poll_is_answered_at_the_stop(api: Api) -> None:
    job = httpx.post(f"{api.url}/v1/jobs", files={"file": ("a.wav", audio_files.wav(2.0))}, timeout=60).json()["id"]
    with socket.create_connection(("127.0.0.1", int(api.url.rpartition(":")[2]))) as waiting:
        waiting.sendall(f"GET /v1/jobs/{job}?wait=3 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
        eventually(lambda: _in_flight(api) >= 2)  # this question's own is one of them
        api.process.terminate()
        eventually(lambda: not api.answers(), within_s=10)
        waiting.settimeout(20)
        answer = b"".join(iter(lambda: waiting.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 200")
    assert api.process.wait(30) == 0


def _in_flight(api: Api) -> float:
    return _sample(httpx.get(f"{api.url}/metrics").text, "murmur_http_requests_in_flight")


def test_processes_of_a_parent_that_was_killed_end_too(ledger: LedgerServer, tmp_path: Path) -> None:
    with two_processes(ledger, tmp_path) as api:
        children = api.children()
        api.process.kill()
        eventually(lambda: not any(_runs(one) for one in children), within_s=30)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


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


def _sample(text: str, name: str) -> float:
    return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).rpartition(" ")[2])


def test_the_parent_loads_nothing_of_the_application_that_its_processes_serve() -> None:
    heavy = "{'api.app', 'fastapi', 'celery', 'redis', 'numpy'}"
    code = f"import sys; import api.main; print(sorted({heavy} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
