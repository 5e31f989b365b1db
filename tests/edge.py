"""A real nginx with the project's configuration, replicas behind it, and the names by which it finds them."""

import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import pytest

from murmur.platform.processes import Program
from tests.free_port import free_port
from tests.platform import eventually
from tests.warm import start as warm

ROOT = Path(__file__).parents[1]
START = ROOT / "nginx" / "start.sh"
RENDER = ROOT / "nginx" / "render.sh"
# Debian puts it where only root's PATH leads.
PATH = os.environ["PATH"] + ":/usr/sbin"
HERE = ("127.0.0.1", "127.0.0.2", "127.0.0.3")


def installable() -> bool:
    """Whether `.ci/run` could have installed what is missing."""
    return bool(os.environ.get("CI")) and os.geteuid() == 0 and shutil.which("apt-get") is not None


def nginx_excused() -> bool:
    """Whether there is no nginx on this machine, and nobody could be expected to have put it there."""
    return shutil.which("nginx", path=PATH) is None and not installable()


needs_nginx = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs more than one loopback address"),
    pytest.mark.skipif(nginx_excused(), reason="no nginx here: apt install nginx-light"),
]
"""The marks of a module whose tests start nginx."""


class Names:
    """A name server that knows one name; ``addresses`` is what it answers from now on, for no longer than a second."""

    def __init__(self, name: str = "api.test") -> None:
        self.name = name
        self.addresses: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def address(self) -> str:
        """Where nginx asks."""
        host, port = self._socket.getsockname()
        return f"{host}:{port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: type | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self._socket.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                query, client = self._socket.recvfrom(512)
                self._socket.sendto(self._answer(query), client)

    def _answer(self, query: bytes) -> bytes:
        end = query.index(b"\0", 12) + 5
        labels = b"".join(bytes([len(label)]) + label.encode() for label in self.name.split(".")) + b"\0"
        known = query[12 : end - 4].lower() == labels and query[end - 4 : end - 2] == b"\0\1"
        found = self.addresses if known else []
        flags = b"\x81\x80" if found else b"\x81\x83"
        head = query[:2] + flags + b"\0\1" + len(found).to_bytes(2, "big") + b"\0\0\0\0"
        record = b"\xc0\x0c\0\1\0\1\0\0\0\1\0\4"
        return head + query[12:end] + b"".join(record + socket.inet_aton(address) for address in found)


class Replica:
    """A backend in a process of its own, on one of this machine's loopback addresses."""

    def __init__(self, address: str, port: int) -> None:
        self.address = address
        self.url = f"http://{address}:{port}"
        program = Program(
            name=address,
            argv=[sys.executable, "-m", "tests.edge_backend", address, str(port)],
            env={"REPLICA": address},
            directory=ROOT,
        )
        self.process = warm.running(program, lambda *_: None)

    def ready(self) -> bool:
        """Whether it answers."""
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/state").is_success
        return False

    def state(self) -> dict[str, int]:
        """What it has seen."""
        seen: dict[str, int] = httpx.get(f"{self.url}/state").json()
        return seen

    def stop(self) -> None:
        """SIGTERM, and wait for its end."""
        self.process.terminate()
        assert self.process.wait(20)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        assert self.process.wait(20)


@contextmanager
def replicas(count: int, port: int) -> Iterator[list[Replica]]:
    """Run that many replicas on one port of as many addresses."""
    running = [Replica(address, port) for address in HERE[:count]]
    try:
        for replica in running:
            eventually(replica.ready, within_s=30)
        yield running
    finally:
        for replica in running:
            replica.kill()


class Edge:
    """A running nginx. ``run`` is its directory, ``lines`` its access log."""

    def __init__(self, run: Path, port: int) -> None:
        self.run = run
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.status_port = free_port()

    @property
    def status_url(self) -> str:
        """Where nginx tells its own figures."""
        return f"http://127.0.0.1:{self.status_port}/-/status"

    @property
    def counted(self) -> Path:
        """The log that is counted."""
        return self.run / "counted.log"

    @property
    def lines(self) -> list[str]:
        """What it has logged so far."""
        return (self.run / "access.log").read_text(errors="replace").splitlines()

    def client(self, **how: float) -> httpx.Client:
        """A new client of it."""
        return httpx.Client(base_url=self.url, timeout=how.get("timeout", 20))


def environment(
    run: Path, *, listen: int, names: Names, port: int, settings: Mapping[str, str], status: int | None = None
) -> dict[str, str]:
    """What start.sh is told on this machine."""
    return {
        "PATH": PATH,
        "EDGE_RUN_DIR": str(run),
        "EDGE_TLS_DIR": str(run / "tls"),
        "EDGE_OPERATORS_FILE": str(run / "operators-file"),
        "EDGE_LISTEN": f"127.0.0.1:{listen}",
        "EDGE_API": f"{names.name}:{port}",
        "EDGE_RESOLVER": names.address,
        "EDGE_LOG": str(run / "access.log"),
        "EDGE_COUNTED_LOG": str(run / "counted.log"),
        "EDGE_STATUS_LISTEN": f"127.0.0.1:{status or free_port()}",
        "EDGE_GLOBALS": "user root;" if os.geteuid() == 0 else "",
        "MURMUR_EDGE_REQUESTS_PER_S": "10000",
        "MURMUR_EDGE_BURST": "10000",
        **settings,
    }


def certificate(folder: Path) -> Path:
    """Write `tls.crt` and `tls.key` for 127.0.0.1 into a new folder; the certificate's path."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl here to make a certificate")
    folder.mkdir()
    files = ["-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt")]
    make = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*make, "-addext", "subjectAltName=IP:127.0.0.1", *files], check=True, capture_output=True)
    return folder / "tls.crt"


def negotiated(port: int, context: ssl.SSLContext) -> str | None:
    """The protocol that is agreed on with what answers on *port*."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        return secure.selected_alpn_protocol()


@contextmanager
def edge(run: Path, *, names: Names, port: int, start: Path = START, **settings: str) -> Iterator[Edge]:
    """Start nginx as the container does, in front of what *names* says, on *port*."""
    running = Edge(run, free_port())
    told = environment(run, listen=running.port, names=names, port=port, settings=settings, status=running.status_port)
    with (run / "error.log").open("wb") as errors:
        process = subprocess.Popen(["/bin/sh", str(start)], env=told, stderr=errors)
    try:
        eventually(lambda: _answers(running.url, process), within_s=10)
        yield running
    except BaseException:
        print((run / "error.log").read_text())
        raise
    finally:
        process.terminate()
        process.wait(10)


def _answers(url: str, process: "subprocess.Popen[bytes]") -> bool:
    if process.poll() is not None:
        raise AssertionError(f"nginx ended with status {process.returncode}")
    with suppress(httpx.TransportError):
        return httpx.get(f"{url}/-/edge").text == "ok\n"
    return False
