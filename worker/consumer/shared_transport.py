"""
Celery's messages over as few connections as they take: one that waits for hints, one for remote control.

A hint that was taken isn't noted at the broker: what a worker loses is sent again by the ledger's maintenance. All else
that Celery sends goes over the process's one connection (`transcription/ledger/connections/`). This is the one place
that knows how kombu's channels make theirs; `tests/unit/test_private_parts.py` notices when that changes.
"""

from typing import Any

from kombu.transport import virtual
from kombu.transport.redis import Channel, Transport

from transcription.ledger.connections.shared_connection import shared_pool

TRANSPORT = f"{__name__}:SharedTransport"


class TakenHints(virtual.QoS):
    """The hints that are in hand; kombu's own sends each of them back to Redis, and then that it isn't in hand."""

    restore_at_shutdown = False


class SharedChannel(Channel):
    """A channel whose own connections are only those that wait for something."""

    QoS = TakenHints  # type: ignore[assignment]  # any virtual.QoS will do
    _sender: Any = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)  # type: ignore[no-untyped-call]
        # It asked whether the server answers over the connection that only a consumer needs.
        self.async_pool.disconnect()

    def _get_pool(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            return super()._get_pool(asynchronous=True)  # type: ignore[no-untyped-call]
        options = self._connparams(asynchronous=False)  # type: ignore[no-untyped-call]
        self.keyprefix_fanout = self.keyprefix_fanout.format(db=options["db"])
        return shared_pool(options)

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            return super()._create_client(asynchronous=True)  # type: ignore[no-untyped-call]
        # kombu makes one for every command, which takes an eighth of a busy worker's time in Python.
        self._sender = self._sender or super()._create_client()  # type: ignore[no-untyped-call]
        return self._sender

    def _disconnect_pools(self) -> None:
        self._pool = self._sender = None  # the others' too
        super()._disconnect_pools()  # type: ignore[no-untyped-call]


class SharedTransport(Transport):
    """Redis, with channels that share a connection."""

    Channel = SharedChannel
