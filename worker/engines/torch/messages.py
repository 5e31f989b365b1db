"""Messages between a worker and the process that computes for it: objects whose arrays follow them as they are."""

import pickle
import socket
import struct
from typing import Any, BinaryIO


def send(connection: socket.socket, message: Any) -> None:
    """
    Send *message*: one thread at a time.

    Arrays aren't copied into the pickle but sent from where they lie, while other threads run Python.

    Raises:
        OSError: nobody listens any more.
    """
    arrays: list[pickle.PickleBuffer] = []
    content = pickle.dumps(message, protocol=5, buffer_callback=arrays.append)
    views = [array.raw() for array in arrays]
    sizes = [len(content), *map(len, views)]
    connection.sendall(struct.pack(f"!I{len(sizes)}Q", len(sizes), *sizes) + content)
    for view in views:
        connection.sendall(view)


def receive(connection: BinaryIO) -> Any:
    """
    Wait for the next message: one thread at a time, and only from a process of ours, since it is a pickle.

    Args:
        connection: The socket's buffered file, which mostly has all of a small message after one call.

    Raises:
        EOFError, OSError: nobody sends any more.
    """
    (count,) = struct.unpack("!I", _exactly(connection, 4))
    content, *arrays = (
        _exactly(connection, size) for size in struct.unpack(f"!{count}Q", _exactly(connection, 8 * count))
    )
    return pickle.loads(content, buffers=arrays)  # noqa: S301  see above


def _exactly(connection: BinaryIO, size: int) -> bytearray:
    content = bytearray(size)
    if connection.readinto(content) != size:  # type: ignore[attr-defined]
        raise EOFError
    return content
