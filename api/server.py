"""Uvicorn, told to stop, answers everybody who was connected before; and tiny chunks cost it nothing."""

import asyncio
import ctypes
import faulthandler
import socket
import struct
import sys
import time
from contextlib import suppress

import orjson
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.loop_watch import LoopWatch
from transcription.observability import logs

FIRST_BYTES_S = 0.5
"""How long a connection that was just taken in may take to bring its request."""

SETTLE_S = 0.05

HANDSHAKE_S = 0.002
"""Between a client's first packet and its place in the kernel's queue."""

SO_ATTACH_FILTER, SO_DETACH_FILTER = 26, 27
"""Linux; Python has no names for them. A filter stays on a socket that another process has, too."""

_NO_NEWCOMERS = b"".join(
    struct.pack("HBBI", *line)
    for line in (
        (0x30, 0, 0, 13),  # load the flags of TCP's header
        (0x45, 0, 1, 0x02),  # SYN, with which a connection begins?
        (0x06, 0, 0, 0),  # drop
        (0x06, 0, 0, 0xFFFF),  # keep
    )
)

CHUNKS_AT_ONCE, CHUNKS_A_SECOND, CHUNK_BYTES = 10_000, 1000, 64
"""Chunks that a body may have: so many, so many more in each second that it takes, and one for so many bytes."""


class Server(uvicorn.Server):
    """
    A server that breaks off no request when it stops.

    Uvicorn alone closes connections that wait in the kernel's queue, and those whose request it hasn't read yet. The
    proxy before it has sent a POST into them by then, and can't send it to another replica: nobody knows what became
    of it. On a busy machine that is several requests at every stop. So nobody gets into the queue any more before it is
    looked into for the last time. (Where there is no such filter, who comes between that look and the close is cut off
    all the same.)

    Run it on sockets of your own, as `run(sockets=[config.bind_socket()])`.
    """

    _watch: LoopWatch | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take connections in, watched from now on."""
        faulthandler.enable()
        self._watch = LoopWatch()
        for listener in sockets or []:
            _let_newcomers_in(listener)
        await super().startup(sockets)
        self._watch.start()

    async def on_tick(self, counter: int) -> bool:
        """Say ten times a second that the loop runs."""
        if self._watch is not None:
            self._watch.beat()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse new connections, take in those that wait, and end when all have been answered."""
        if self._watch is not None:
            self._watch.stop()
        for listener in sockets or []:
            _keep_newcomers_out(listener)
        await asyncio.sleep(HANDSHAKE_S)
        taken = [connection for listener in sockets or [] for connection in _last_ones(listener)]
        # Between the queue's end and this there is no await: whoever comes now is refused, and asks another replica.
        for server in self.servers:
            server.close()
        for connection in taken:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        # Those whom asyncio has accepted and not yet handed to a protocol appear in the loop's next rounds.
        deadline = time.monotonic() + FIRST_BYTES_S
        await asyncio.sleep(SETTLE_S)
        while self._unread() and time.monotonic() < deadline:  # noqa: ASYNC110  uvicorn has no event for it
            await asyncio.sleep(0.01)
        try:
            await super().shutdown(sockets)
        finally:
            # The signal that stopped us ends the process in a moment, and every thread with it.
            logs.write_directly()

    def _protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    def _unread(self) -> bool:
        """Whether a connection hasn't brought its first request yet."""
        return any(getattr(connection, "cycle", None) is None for connection in self.server_state.connections)


def _keep_newcomers_out(listener: socket.socket) -> None:
    """
    Let no further connection begin, where the kernel can.

    A client hears nothing then, asks once more after a second, and is refused.
    """
    if not _filters(listener):
        return
    lines = ctypes.create_string_buffer(_NO_NEWCOMERS, len(_NO_NEWCOMERS))
    program = struct.pack("HP", len(_NO_NEWCOMERS) // 8, ctypes.addressof(lines))
    with suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)


def _let_newcomers_in(listener: socket.socket) -> None:
    """Take away what a process that stopped has left on the socket, of which this one is the next."""
    if _filters(listener):
        with suppress(OSError):  # there is none
            listener.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)


def _filters(listener: socket.socket) -> bool:
    return sys.platform == "linux" and listener.family != socket.AF_UNIX


def _last_ones(listener: socket.socket) -> list[socket.socket]:
    """Everybody in the kernel's queue."""
    waiting: list[socket.socket] = []
    while True:
        try:
            connection, _ = listener.accept()
        except (BlockingIOError, InterruptedError):
            return waiting
        connection.setblocking(False)
        waiting.append(connection)


class Protocol(HttpToolsProtocol):
    """
    HTTP/1.1 whose chunked bodies cost what their bytes cost.

    Uvicorn alone adds every chunk to what it holds, by copying that. Here what one read brings is joined once, and a
    body in tinier chunks than anybody needs is broken off: one may send a thousand a second of any size.
    """

    _chunks, _body_bytes, _began = 0, 0, 0.0
    _pieces: list[bytes] | None = None

    def on_message_begin(self) -> None:
        """Begin to count."""
        super().on_message_begin()
        self._chunks = 0

    def on_chunk_header(self) -> None:
        """Count a chunk."""
        if not self._chunks:
            self._body_bytes, self._began = 0, time.monotonic()
        self._chunks += 1

    def on_body(self, body: bytes) -> None:
        """Keep chunks until the read is over; of another body there is one piece in each read."""
        if not self._chunks:
            super().on_body(body)
        elif self._pieces is None:
            self._pieces = [body]
        else:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        """Hand over the rest before the end."""
        if self._pieces:
            self._join(self._pieces)
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        """Take what one read has brought."""
        super().data_received(data)
        if self._chunks and not self.transport.is_closing():
            if self._pieces:
                self._join(self._pieces)
            seconds = time.monotonic() - self._began
            if self._chunks > CHUNKS_AT_ONCE + CHUNKS_A_SECOND * seconds + self._body_bytes / CHUNK_BYTES:
                self._break_off()

    def _join(self, pieces: list[bytes]) -> None:
        self._pieces = None
        body = b"".join(pieces)
        self._body_bytes += len(body)
        super().on_body(body)

    def _break_off(self) -> None:
        detail = f"the body comes in chunks of fewer than {CHUNK_BYTES} bytes; send larger ones"
        code = "malformed_request"
        shape = {"type": f"urn:murmur:error:{code}", "title": "The request can't be read.", "status": 400}
        body = orjson.dumps({**shape, "detail": detail, "code": code})
        head = f"HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncontent-length: {len(body)}\r\n"
        if self.cycle is not None and not self.cycle.response_started:
            self.transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.close()
