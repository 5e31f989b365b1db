"""Looking up names that clients gave, apart from everything else: a slow name holds up its owner only."""

import asyncio
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from transcription.errors import UrlUnreachable

RESOLVE_S = 5.0
THREADS = 32
FOR_EACH_OWNER = 4


class LookupFailed(UrlUnreachable):
    """The name has no address, or none that was found in time."""


class Lookups:
    """
    Threads that do nothing but look names up, and how many of them each owner may hold.

    A look-up that was given up still holds its thread until the system's resolver lets it go, so it counts until then.
    """

    def __init__(self, *, threads: int = THREADS, for_each_owner: int = FOR_EACH_OWNER) -> None:
        self._threads = ThreadPoolExecutor(threads, "lookup")
        self._for_each_owner = for_each_owner
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()

    async def addresses(self, name: str, port: int, *, owner: str) -> list[str]:
        """
        The addresses of *name*, each once.

        Raises:
            LookupFailed: it has none, or they weren't found within five seconds.
            UrlUnreachable: *owner* has too many names being looked up.
        """
        with self._lock:
            if self._held[owner] >= self._for_each_owner:
                raise UrlUnreachable(
                    f"{self._for_each_owner} of your names are being looked up already; try again when they are found"
                )
            self._held[owner] += 1
        waiting = asyncio.get_running_loop().run_in_executor(self._threads, self._look_up, name, port, owner)
        try:
            async with asyncio.timeout(RESOLVE_S):
                return await asyncio.shield(waiting)
        except (OSError, TimeoutError, UnicodeError) as error:
            waiting.add_done_callback(_forget)
            raise LookupFailed(no_address(name)) from error

    def _look_up(self, name: str, port: int, owner: str) -> list[str]:
        try:
            rows = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        finally:
            with self._lock:
                self._held[owner] -= 1
                if not self._held[owner]:
                    del self._held[owner]
        return list(dict.fromkeys(str(row[4][0]) for row in rows))


def no_address(name: str) -> str:
    """What is said of a name without an address, and of one whose addresses are inside: the same."""
    return f"the host {name[:100]!r} has no address on the open internet (MURMUR_OUTBOUND__ALLOW_PRIVATE_ADDRESSES)"


def _forget(waiting: "asyncio.Future[list[str]]") -> None:
    if not waiting.cancelled():
        waiting.exception()  # nobody waits for it any more


lookups = Lookups()
"""Those of this process."""
