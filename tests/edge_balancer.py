"""The balancer of docker-compose.edges.yml before two nginx, and clients of it that have addresses of their own."""

import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.edge import PATH, ROOT, Edge, Names, certificate, edge, installable, needs_nginx
from tests.free_port import free_port
from tests.platform import eventually

BALANCER = ROOT / "nginx" / "balancer.sh"
HEADER_S = 3
"""How long these nginx wait for a request's head, or for a handshake."""


def balancer_excused() -> bool:
    """Whether nginx can't hand on connections here, and nobody could be expected to have put that there."""
    nginx = shutil.which("nginx", path=PATH)
    if nginx is None:
        return not installable()
    built = subprocess.run([nginx, "-V"], check=False, capture_output=True, text=True).stderr.split()
    modules = next((word.partition("=")[2] for word in built if word.startswith("--modules-path=")), "/")
    return "--with-stream" not in built and not Path(modules, "ngx_stream_module.so").exists() and not installable()


needs_balancer = [
    *needs_nginx,
    pytest.mark.skipif(balancer_excused(), reason="nginx has no stream module here: apt install libnginx-mod-stream"),
]
"""The marks of a module whose tests start a balancer."""


class Pair:
    """Two nginx behind a balancer. ``port`` and ``secure_port`` are the balancer's; ``direct`` those of one nginx."""

    def __init__(self, edges: Sequence[Edge], port: int, secure_port: int, direct: tuple[int, int]) -> None:
        self.edges = edges
        self.port, self.secure_port, self.direct = port, secure_port, direct
        self.tls: ssl.SSLContext | None = None
        """How clients know the certificate, where there is one."""

    @property
    def lines(self) -> list[str]:
        """What both have logged so far."""
        return [line for nginx in self.edges for line in nginx.lines]

    def client(self, address: str) -> httpx.Client:
        """A client that has *address*; over TLS where there is a certificate."""
        url = f"https://127.0.0.1:{self.secure_port}" if self.tls else f"http://127.0.0.1:{self.port}"
        transport = httpx.HTTPTransport(
            local_address=address, verify=self.tls or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        )
        return httpx.Client(base_url=url, timeout=20, transport=transport)

    def connect(self, address: str, port: int = 0) -> socket.socket:
        """A connection from *address*; to the balancer's plain port by default."""
        return socket.create_connection(("127.0.0.1", port or self.port), timeout=20, source_address=(address, 0))

    def answer(self, request: bytes, address: str, port: int = 0, *, silent_s: float = 1) -> bytes:
        """All that is said to *request* until the connection is closed, or nothing comes for so long."""
        said = b""
        with self.connect(address, port) as raw, suppress(OSError):
            raw.sendall(request)
            raw.settimeout(silent_s)
            while more := raw.recv(65_536):
                said += more
        return said


@contextmanager
def balancer(run: Path, http: Sequence[str], https: Sequence[str], *, ports: tuple[int, int]) -> Iterator[None]:
    """Run the balancer on two ports, before servers for each of them."""
    told = {
        "PATH": PATH,
        "EDGE_RUN_DIR": str(run),
        "EDGE_RESOLVER": "127.0.0.1",
        "EDGE_NGINX": " ".join(http),
        "EDGE_NGINX_HTTPS": " ".join(https),
        "EDGE_LISTEN": f"127.0.0.1:{ports[0]}",
        "EDGE_HTTPS_LISTEN": f"127.0.0.1:{ports[1]}",
        "EDGE_GLOBALS": "user root;" if os.geteuid() == 0 else "",
    }
    process = subprocess.Popen(["/bin/sh", str(BALANCER)], env=told)

    def listens() -> bool:
        assert process.poll() is None, f"the balancer ended with status {process.returncode}"
        with suppress(OSError), socket.create_connection(("127.0.0.1", ports[1]), timeout=1):
            return True
        return False

    try:
        eventually(listens, within_s=10)
        yield
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def pair(run: Path, *, names: Names, port: int, secure: bool = False, **settings: str) -> Iterator[Pair]:
    """Two nginx behind a balancer, in front of what *names* says on *port*; *secure*: with a certificate."""
    scripts = Path(shutil.copytree(ROOT / "nginx", run / "nginx"))
    template = scripts / "nginx.conf.template"
    text = template.read_text("utf-8")
    assert text.count("client_header_timeout 15s;") == 1
    template.write_text(text.replace("client_header_timeout 15s;", f"client_header_timeout {HEADER_S}s;"), "utf-8")
    trusted = certificate(run / "tls") if secure else None
    ports, plain, tls = (free_port(), free_port()), [free_port(), free_port()], [free_port(), free_port()]
    with ExitStack() as running:
        edges = []
        for number in range(2):
            (folder := run / str(number)).mkdir()
            told = {
                "EDGE_TLS_DIR": str(run / "tls"),
                "EDGE_HTTPS_LISTEN": f"127.0.0.1:{free_port()}",
                "EDGE_BALANCED": "yes",
                "EDGE_BALANCED_LISTEN": f"127.0.0.1:{plain[number]}",
                "EDGE_BALANCED_HTTPS_LISTEN": f"127.0.0.1:{tls[number]}",
                # From where the balancer comes, and no client.
                "EDGE_BALANCER": "127.0.0.1",
                "MURMUR_HTTPS_PORT": str(ports[1]),
            }
            started = edge(folder, names=names, port=port, start=scripts / "start.sh", **told, **settings)
            edges.append(running.enter_context(started))
        servers = [[f"127.0.0.1:{one}" for one in kind] for kind in (plain, tls)]
        running.enter_context(balancer(run / "balancer", *servers, ports=ports))
        found = Pair(edges, *ports, direct=(plain[0], tls[0]))
        if trusted:
            found.tls = ssl.create_default_context(cafile=str(trusted))
        yield found
