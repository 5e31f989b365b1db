"""An API of two processes, by either server, as an operator would start it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from murmur.platform.ledger_server import LedgerServer, free_port
from tests.live_api import ROOT
from tests.platform import eventually


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

    def all_started(self) -> bool:
        """Whether two processes have begun to serve, by what they count together."""
        return _starts(self) == 2

    def in_flight(self) -> float:
        """Requests that are being answered, in all processes; this question's own is one of them."""
        return sample(httpx.get(f"{self.url}/metrics").text, "murmur_http_requests_in_flight")


def _starts(api: Api) -> float:
    return sample(httpx.get(f"{api.url}/metrics").text, "murmur_api_process_starts_total")


def _serves(process: psutil.Process) -> bool:
    return any(one.status == psutil.CONN_LISTEN for one in process.net_connections("tcp"))


@contextmanager
def two_processes(ledger: LedgerServer, directory: Path, *, server: str = "uvicorn") -> Iterator[Api]:
    port = free_port()
    own = {
        "MODEL": "demo",
        "DATA_DIR": str(directory),
        "LEDGER__URL": ledger.url,
        "LIMITS__MIN_FREE_DISK_BYTES": "0",
        "LIMITS__MAX_MEMORY_PERCENT": "100",
        "API__HOUSEKEEPING": "false",
        "API__PROCESSES": "2",
        "API__SERVER": server,
        "API__STOP_S": "10",
        "API__PORT": str(port),
    }
    environment = os.environ | {f"MURMUR_{name}": value for name, value in own.items()}
    process = subprocess.Popen([sys.executable, "-m", "api.main"], cwd=ROOT, env=environment)
    api = Api(process, port)
    try:
        started = api.all_answer if server == "uvicorn" else api.all_started
        eventually(lambda: api.answers() and started(), within_s=60, every_s=0.1)
        yield api
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(30)


def sample(text: str, name: str) -> float:
    return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).rpartition(" ")[2])
