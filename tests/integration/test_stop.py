"""An API that is told to stop breaks off nobody: not even those it hasn't noticed yet."""

import errno
import os
import select
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.free_port import free_port
from tests.platform import eventually

ROOT = Path(__file__).parents[2]
REQUEST = b"POST /take HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"
CLIENTS = 12
PROGRAM = """
import sys, time, uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from api import server

def told_to(step):
    print(step, flush=True)
    sys.stdin.readline()  # a busy machine: nothing else happens in this process meanwhile

last_ones = server._last_ones

def looked(listener):
    found = last_ones(listener)
    told_to("close")
    return found

server._last_ones = looked

class Busy(server.Server):
    async def shutdown(self, sockets=None):
        told_to("stop")
        await super().shutdown(sockets)

async def take(request):
    time.sleep(0.01)
    return PlainTextResponse(str(len(await request.body())))

app = Starlette(routes=[Route("/take", take, methods=["POST"])])
config = uvicorn.Config(app, port=PORT, log_level="warning", timeout_graceful_shutdown=10)
Busy(config).run(sockets=[config.bind_socket()])
"""


class Stopping:
    """An API that waits at each step of its stop until it is let go on."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int) -> None:
        self.process, self.port = process, port

    def comes_to(self, step: str) -> None:
        """Wait until the stop is before *step*."""
        assert self.process.stdout
        assert self.process.stdout.readline().decode().strip() == step

    def goes_on(self) -> None:
        """Let it take the step."""
        assert self.process.stdin
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()


@pytest.fixture
def api() -> Iterator[Stopping]:
    port = free_port()
    command = [sys.executable, "-c", PROGRAM.replace("PORT", str(port))]
    own = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, env=own, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            eventually(lambda: connected(port), within_s=30).close()
            yield Stopping(process, port)
        finally:
            process.kill()


def connected(port: int) -> socket.socket | None:
    """A connection; None: it is refused."""
    try:
        return socket.create_connection(("127.0.0.1", port), timeout=30)
    except ConnectionRefusedError:
        return None


def answer(connection: socket.socket) -> str:
    """The status line of what is answered, or what became of the connection."""
    try:
        return b"".join(iter(lambda: connection.recv(65_536), b"")).partition(b"\r\n")[0].decode() or "broken off"
    except ConnectionError as error:
        return type(error).__name__


def test_every_request_of_a_connection_that_was_made_before_the_stop_is_answered(api: Stopping) -> None:
    with ExitStack() as made:
        taken = [made.enter_context(connected(api.port)) for _ in range(CLIENTS)]
        taken[0].sendall(REQUEST)
        assert answer(taken.pop(0)) == "HTTP/1.1 200 OK"
        api.process.terminate()
        api.comes_to("stop")
        queued = [made.enter_context(connected(api.port)) for _ in range(CLIENTS)]
        for connection in taken + queued:
            connection.sendall(REQUEST)
        api.goes_on()
        api.comes_to("close")
        api.goes_on()
        assert Counter(map(answer, taken + queued)) == {"HTTP/1.1 200 OK": len(taken + queued)}
    assert connected(api.port) is None
    assert api.process.wait(15) in {0, -signal.SIGTERM}


@pytest.mark.skipif(sys.platform != "linux", reason="no other kernel can keep newcomers out of a listener's queue")
def test_who_comes_as_the_listener_is_closed_is_refused_and_asks_another_replica(api: Stopping) -> None:
    api.process.terminate()
    api.comes_to("stop")
    api.goes_on()
    api.comes_to("close")
    with socket.socket() as newcomer:
        newcomer.setblocking(False)
        assert newcomer.connect_ex(("127.0.0.1", api.port)) == errno.EINPROGRESS
        api.goes_on()
        select.select([], [newcomer], [], 30)
        assert newcomer.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
