"""Uvicorn, told to stop: it refuses whoever comes now, and answers everybody who was connected before."""

import asyncio
import socket
import time

import uvicorn

FIRST_BYTES_S = 0.5
"""How long a connection that was just taken in may take to bring its request."""

SETTLE_S = 0.05


class Server(uvicorn.Server):
    """
    A server that breaks off no request when it stops.

    Uvicorn alone closes connections that wait in the kernel's queue, and those whose request it hasn't read yet. The
    proxy before it has sent a POST into them by then, and can't send it to another replica: nobody knows what became
    of it. On a busy machine that is several requests at every stop.

    Run it on sockets of your own, as `run(sockets=[config.bind_socket()])`.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Refuse new connections, take in those that wait, and end when all have been answered."""
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
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )

    def _unread(self) -> bool:
        """Whether a connection hasn't brought its first request yet."""
        return any(getattr(connection, "cycle", None) is None for connection in self.server_state.connections)


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
