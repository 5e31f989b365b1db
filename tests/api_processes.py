"""An API of two processes, by either server, as an operator would start it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from murmur.platform.ledger_server import LedgerServer
from tests.free_port import free_port
from tests.live_api import ROOT
from tests.platform import eventually
from tests.processes import runs


class Api:
    """An API of several processes."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"

    def children(self) -> list[psutil.Process]:
        return list(filter(runs, psutil.Process(self.process.pid).children()))

    def answers(self) -> bool:
        try:
            return self.get("/health/live").status_code == 200
        except httpx.TransportError:
            return False

    def get(self, path: str) -> httpx.Response:
        """Ask on a connection of its own, so that the kernel chooses who answers: one that starts may take long."""
        return httpx.get(f"{self.url}{path}", timeout=60)

    def metric(self, name: str) -> float:
        """What the processes have counted together."""
        return sample(self.get("/metrics").text, name)

    def starts(self) -> float:
        """How many processes have begun to serve, dead ones too; 0: nobody answers yet."""
        return self.metric("murmur_api_process_starts_total") if self.answers() else 0

    def in_flight(self) -> float:
        """Requests that are being answered, in all processes; this question's own is one of them."""
        return self.metric("murmur_http_requests_in_flight")


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
        eventually(lambda: api.starts() == 2, within_s=60, every_s=0.1)
        yield api
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(30)


def sample(text: str, name: str) -> float:
    return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).rpartition(" ")[2])
