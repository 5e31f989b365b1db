"""
A backup on its way: `python -m transcription.encryption.stream seal|open`, standard input to standard output.

Where the settings name no keys, what comes goes out as it is. Where they do, what isn't encrypted is refused, unless
they accept it.
"""

import sys
from collections.abc import Iterator
from typing import BinaryIO

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from transcription.encryption.files import FileEncryption, file_encryption
from transcription.encryption.sealed import HEADER_BYTES, Broken, opened, parsed
from transcription.errors import StorageUnavailable
from transcription.settings import InvalidSettings, read_settings

_BLOCK = 1 << 20


def seal(source: BinaryIO, target: BinaryIO, encryption: FileEncryption) -> None:
    """Encrypt *source* into *target*."""
    sealer = encryption.sealer()
    while data := source.read(_BLOCK):
        target.write(sealer.feed(data) if sealer else data)
    if sealer:
        target.write(sealer.finish())


def unseal(source: BinaryIO, target: BinaryIO, encryption: FileEncryption) -> None:
    """
    Decrypt *source* into *target*; nothing of a chunk leaves before it is known to be right.

    Raises:
        Broken: it was changed or cut, and what has left by then is a part of it; or it had to be encrypted.
        StorageUnavailable: its key can't be unwrapped.
    """
    target.writelines(plain(source, encryption))


def plain(source: BinaryIO, encryption: FileEncryption) -> Iterator[bytes]:
    """What *source* holds, decrypted if it is encrypted, a piece at a time. Raises as `unseal` does."""
    head = source.read(HEADER_BYTES)
    found = parsed(head)
    if found is None:
        encryption.check_plain()
        yield head
        while data := source.read(_BLOCK):
            yield data
        return
    cipher = AESGCM(encryption.unwrapped(found.wrapped))
    stored, number = found.chunk_bytes + 16, 0
    chunk = source.read(stored)
    while True:
        after = source.read(stored)
        yield opened(cipher, chunk, number, last=not after, bound=found.bound_to(""))
        if not after:
            return
        chunk, number = after, number + 1


def main() -> None:
    """Do what the argument says; a sentence and status 1 where that fails."""
    action = {"seal": seal, "open": unseal}.get(sys.argv[1] if len(sys.argv) == 2 else "")
    if action is None:
        raise SystemExit("usage: python -m transcription.encryption.stream seal|open <FROM >TO")
    try:
        action(sys.stdin.buffer, sys.stdout.buffer, file_encryption(read_settings()))
        sys.stdout.buffer.flush()
    except (Broken, StorageUnavailable, InvalidSettings, ValueError) as error:
        raise SystemExit(f"stream: {error}") from error


if __name__ == "__main__":
    main()
