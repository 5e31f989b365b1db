"""A TCP proxy before the ledger that can swallow or delay its answers: a network that fails in one direction."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit


class DeafProxy:
    """
    Passes everything on, both ways, until ``deaf`` is set; then answers are thrown away.

    ``after`` makes it deaf as soon as a client has sent these bytes; ``delay_s`` holds each answer back.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "", parts.port or 6379)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}{parts.path}"
        self._open: list[socket.socket] = []
        self.deaf = False
        self.delay_s = 0.0
        self.after: bytes | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()
        for connection in self._open:
            connection.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self._open += [client, server]
                threading.Thread(target=self._pass, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client, False), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, asks: bool) -> None:
        with suppress(OSError):
            while chunk := source.recv(65536):
                if asks and self.after and self.after in chunk:
                    self.deaf = True
                if not asks and self.delay_s:
                    time.sleep(self.delay_s)
                if asks or not self.deaf:
                    target.sendall(chunk)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@contextmanager
def deaf_proxy(url: str) -> Iterator[DeafProxy]:
    """Run a proxy before the server at *url*."""
    proxy = DeafProxy(url)
    try:
        yield proxy
    finally:
        proxy.close()
