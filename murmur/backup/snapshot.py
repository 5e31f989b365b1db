"""
A snapshot of the ledger, as the server sends one to a new replica.

The server forks and sends what it held at that moment. Nothing is configured, paused or written on the server, so a
backup that is interrupted at any point leaves nothing behind there.
"""

import io
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any, BinaryIO

from redis import ConnectionPool
from redis.exceptions import RedisError, ResponseError

from murmur.backup.errors import BackupFailed

SILENCE_S = 60.0
_BLOCK = 1 << 20
_MARK_BYTES = 40


def save(url: str, target: BinaryIO, *, begun: Callable[[], None]) -> int:
    """
    Write the ledger's content to *target*, in Redis' RDB format.

    Args:
        url: The server.
        target: A file.
        begun: Called as soon as the moment of the snapshot is over and its bytes begin to come.

    Returns:
        How many bytes were written.

    Raises:
        BackupFailed: the server can't be reached, refuses to replicate, or stopped in the middle.
    """
    pool = ConnectionPool.from_url(url, socket_timeout=SILENCE_S, socket_connect_timeout=5, protocol=2)
    connection: Any = pool.make_connection()
    try:
        connection.connect()
        # No stream of changes after the snapshot; servers before Redis 7 don't know the option, and are left before it.
        connection.send_command("REPLCONF", "rdb-only", "1")
        with suppress(ResponseError):
            connection.read_response()
        connection.send_command("SYNC")
        # From here on it isn't Redis' usual protocol.
        with closing(connection._sock.makefile("rb")) as source:  # noqa: SLF001
            length = _announced(source)
            begun()
            return (
                _until_mark(source, target, length) if isinstance(length, bytes) else _exactly(source, target, length)
            )
    except (RedisError, OSError) as error:
        raise BackupFailed(f"the ledger's snapshot failed: {type(error).__name__}: {error}") from error
    finally:
        connection.disconnect()
        pool.disconnect()


def _announced(source: io.BufferedReader) -> int | bytes:
    """How long the snapshot is, or the mark that ends it."""
    while (line := source.readline()) == b"\n":  # the server still forks or waits
        pass
    line = line.strip()
    if line.startswith(b"$EOF:") and len(line) == len(b"$EOF:") + _MARK_BYTES:
        return line.removeprefix(b"$EOF:")
    if line.startswith(b"$") and line[1:].isdigit():
        return int(line[1:])
    said = line.removeprefix(b"-").decode(errors="replace") or "it closed the connection"
    raise BackupFailed(f"the ledger's server sends no snapshot: {said}")


def _exactly(source: io.BufferedReader, target: BinaryIO, length: int) -> int:
    left = length
    while left:
        data = source.read1(min(_BLOCK, left))
        if not data:
            raise BackupFailed(f"the ledger's snapshot was cut off {left} bytes before its end")
        target.write(data)
        left -= len(data)
    return length


def _until_mark(source: io.BufferedReader, target: BinaryIO, mark: bytes) -> int:
    written, held = 0, b""
    while not held.endswith(mark):
        data = source.read1(_BLOCK)
        if not data:
            raise BackupFailed("the ledger's snapshot was cut off before its end")
        held += data
        ready = len(held) - _MARK_BYTES
        if ready > 0:
            target.write(held[:ready])
            written, held = written + ready, held[ready:]
    return written
