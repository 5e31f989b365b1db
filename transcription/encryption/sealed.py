"""
The form of an encrypted file: a header, then chunks of AES-256-GCM, each of which says where it belongs.

    header   1024 bytes: magic, version, length of a chunk, an id, the file's key as the key provider has wrapped it
    chunk    64 KiB (the last may be shorter, or empty), encrypted, and 16 bytes that show that nobody has changed it

Each file has a key of its own. A chunk's nonce is its number and whether it is the last, so chunks that change places,
are missing, or are cut off are found (the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár). Any chunk can
be read alone. The wrapped key isn't part of what the chunks vouch for, so it can be wrapped anew. Version 2 is bound to
a name as well: under another one no chunk can be read.
"""

import secrets
import struct
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC = b"murmseal"
HEADER_BYTES = 1024
CHUNK_BYTES = 65_536
KEY_BYTES = 32
_VERSION, _NAMED_VERSION = 1, 2
_HEAD = struct.Struct(">8sBI16sH")
_NONCE = struct.Struct(">QxxxB")
_TAG_BYTES = 16
MOST_WRAPPED_BYTES = HEADER_BYTES - _HEAD.size


class Broken(ValueError):
    """What lies in the file isn't what was written: it was changed or cut, or another key is needed."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself; ``bound`` is what every chunk vouches for, where it is ``named`` with its name."""

    chunk_bytes: int
    bound: bytes
    wrapped: bytes
    named: bool = False

    def bound_to(self, name: str) -> bytes:
        """What every chunk of the file of that name vouches for; a file without one may have any."""
        return self.bound + name.encode() if self.named else self.bound


def new_key() -> bytes:
    """A key for one file."""
    return secrets.token_bytes(KEY_BYTES)


def header(wrapped: bytes, *, named: bool = False) -> bytes:
    """The header of a new file, which may be bound to a name, with its *wrapped* key. ValueError: that is too long."""
    if len(wrapped) > MOST_WRAPPED_BYTES:
        raise ValueError(f"a wrapped key has at most {MOST_WRAPPED_BYTES} bytes; the provider's has {len(wrapped)}")
    version = _NAMED_VERSION if named else _VERSION
    head = _HEAD.pack(MAGIC, version, CHUNK_BYTES, secrets.token_bytes(16), len(wrapped))
    return (head + wrapped).ljust(HEADER_BYTES, b"\0")


def parsed(head: bytes) -> Header | None:
    """The header that a file begins with; None: it isn't an encrypted one. Broken: a header that can't be."""
    if not head.startswith(MAGIC):
        return None
    if len(head) < HEADER_BYTES:
        raise Broken("the header is cut off")
    magic, version, chunk_bytes, file_id, length = _HEAD.unpack_from(head)
    if version not in (_VERSION, _NAMED_VERSION) or not 0 < chunk_bytes <= 1 << 24 or length > MOST_WRAPPED_BYTES:
        raise Broken("the header is none of ours")
    bound = struct.pack(">8sBI16s", magic, version, chunk_bytes, file_id)
    return Header(chunk_bytes, bound, head[_HEAD.size :][:length], named=version == _NAMED_VERSION)


def sealed_size(plain_bytes: int) -> int:
    """How long a file of *plain_bytes* is when it is encrypted."""
    chunks = max(1, -(-plain_bytes // CHUNK_BYTES))
    return HEADER_BYTES + plain_bytes + chunks * _TAG_BYTES


def chunks_in(stored_bytes: int) -> int:
    """How many whole chunks a file of that length holds."""
    return (stored_bytes - HEADER_BYTES) // (CHUNK_BYTES + _TAG_BYTES)


class Sealer:
    """
    Encrypts a file as it comes, a chunk at a time.

    Args:
        head: The file's header, as `header` made it.
        key: The file's key.
        after: How many chunks lie behind that header in the file already, where it is gone on with.
        name: What the file is bound to, where its header says that it is.
    """

    def __init__(self, head: bytes, key: bytes, *, after: int | None = None, name: str = "") -> None:
        found = parsed(head)
        if found is None:
            raise Broken("the file isn't encrypted")
        self._head = head if after is None else b""
        self._bound = found.bound_to(name)
        self._cipher = AESGCM(key)
        self._rest = bytearray()
        self._number = after or 0

    def feed(self, data: bytes | bytearray | memoryview) -> bytes:
        """Take the next bytes, and give what can be written of them."""
        self._rest += data
        # What may be the last chunk is held back.
        count = max(0, len(self._rest) - 1) // CHUNK_BYTES
        with memoryview(self._rest) as view:
            parts = [self._chunk(view[n * CHUNK_BYTES : (n + 1) * CHUNK_BYTES], last=False) for n in range(count)]
        del self._rest[: count * CHUNK_BYTES]
        return self._begun() + b"".join(parts)

    def filled(self) -> bytes:
        """Give what is held back, with zeros to a whole chunk: another must follow, so that nothing can be cut off."""
        rest = bytes(self._rest).ljust(CHUNK_BYTES, b"\0") if self._rest else b""
        self._rest.clear()
        return self._begun() + (self._chunk(rest, last=False) if rest else b"")

    def finish(self) -> bytes:
        """Give the last chunk."""
        return self._begun() + self._chunk(bytes(self._rest), last=True)

    def _begun(self) -> bytes:
        head, self._head = self._head, b""
        return head

    def _chunk(self, data: bytes | memoryview, *, last: bool) -> bytes:
        number, self._number = self._number, self._number + 1
        return self._cipher.encrypt(_NONCE.pack(number, last), data, self._bound)


class SealedBytes:
    """
    Decrypts any part of an encrypted file.

    Args:
        read: Gives so many bytes of the file at a position.
        size: The file's length.
        key: The file's own key.
        ended: Whether the file is whole; else more chunks are to follow, and all of them so far are full.
        name: What it must be bound to, where it is bound to a name.
    """

    def __init__(
        self, read: Callable[[int, int], bytes], size: int, key: bytes, *, ended: bool = True, name: str = ""
    ) -> None:
        found = parsed(read(HEADER_BYTES, 0))
        if found is None:
            raise Broken("the file isn't encrypted")
        self._read = read
        self._cipher = AESGCM(key)
        self._bound = found.bound_to(name)
        self._chunk_bytes = found.chunk_bytes
        stored, body = found.chunk_bytes + _TAG_BYTES, size - HEADER_BYTES
        self._chunks = -(-body // stored)
        self._last = self._chunks - 1 if ended else None
        self.size = body - self._chunks * _TAG_BYTES
        if self._chunks < ended or self.size < (self._chunks - 1) * found.chunk_bytes:
            raise Broken("the file is cut off")
        self._held, self._held_number = b"", -1

    def pread(self, count: int, position: int) -> bytes:
        """*count* bytes at *position*, fewer at the end. Broken."""
        end = min(self.size, position + count)
        if position >= end:
            return b""
        first, last = position // self._chunk_bytes, (end - 1) // self._chunk_bytes
        data = b"".join(self._chunk(number) for number in range(first, last + 1))
        begin = position - first * self._chunk_bytes
        return data[begin : begin + end - position]

    def check_end(self) -> None:
        """Make sure that nothing was cut off. Broken."""
        self._chunk(self._chunks - 1)

    def _chunk(self, number: int) -> bytes:
        if number != self._held_number:
            stored = self._chunk_bytes + _TAG_BYTES
            data = self._read(stored, HEADER_BYTES + number * stored)
            self._held, self._held_number = (
                opened(self._cipher, data, number, last=number == self._last, bound=self._bound),
                number,
            )
        return self._held


def opened(cipher: AESGCM, data: bytes, number: int, *, last: bool, bound: bytes) -> bytes:
    """A chunk's bytes. Broken: it isn't chunk *number* as it was written, or not the last where it should be."""
    try:
        return cipher.decrypt(_NONCE.pack(number, last), data, bound)
    except (InvalidTag, ValueError) as error:
        raise Broken(f"chunk {number} isn't as it was written, or it is another key's") from error
