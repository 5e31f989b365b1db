"""An API that is told to stop breaks off nobody: not even those it hasn't noticed yet."""

import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

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
from api.server import Server

class Busy(Server):
    async def shutdown(self, sockets=None):
        print("stops", flush=True)
        sys.stdin.readline()  # a busy machine: nothing else happens in this process meanwhile
        await super().shutdown(sockets)

async def take(request):
    time.sleep(0.01)
    return PlainTextResponse(str(len(await request.body())))

app = Starlette(routes=[Route("/take", take, methods=["POST"])])
config = uvicorn.Config(app, port=PORT, log_level="warning", timeout_graceful_shutdown=10)
Busy(config).run(sockets=[config.bind_socket()])
"""


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


def test_every_request_of_a_connection_that_was_made_before_the_stop_is_answered() -> None:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.replace("PORT", str(port))],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    with process, ExitStack() as made:
        try:
            taken = [made.enter_context(eventually(lambda: connected(port), within_s=30)) for _ in range(CLIENTS)]
            taken[0].sendall(REQUEST)
            assert answer(taken.pop(0)) == "HTTP/1.1 200 OK"
            process.send_signal(signal.SIGTERM)
            assert process.stdout.readline() == b"stops\n"
            queued = [made.enter_context(connected(port)) for _ in range(CLIENTS)]
            for connection in taken + queued:
                connection.sendall(REQUEST)
            process.stdin.write(b"\n")
            process.stdin.flush()
            assert Counter(map(answer, taken + queued)) == {"HTTP/1.1 200 OK": len(taken + queued)}
            assert connected(port) is None
            assert process.wait(15) in {0, -signal.SIGTERM}
        finally:
            process.kill()
