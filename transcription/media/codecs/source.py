"""
A file's bytes, whether it is encrypted or not: the one place where the codecs' process reads what it was given.

It knows the key of that one file, and no other: it decrypts what the demuxer asks for, and nothing plain is written.
"""

import errno
import os

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from transcription.encryption.sealed import Broken, SealedBytes

_NO_SIZE = 1 << 60
_sealed: dict[int, SealedBytes] = {}

# What the library does at its first use, as asking for its settings, comes before a process is locked in.
AESGCM(bytes(32)).decrypt(bytes(12), AESGCM(bytes(32)).encrypt(bytes(12), b"", None), None)


def unseal(descriptor: int, key: str | None) -> None:
    """Read *descriptor* with its *key*, in hexadecimal digits, from now on; None: it isn't encrypted. OSError."""
    _sealed.pop(descriptor, None)
    if key is not None:
        try:
            size = os.lseek(descriptor, 0, os.SEEK_END)
            _sealed[descriptor] = SealedBytes(
                lambda count, at: os.pread(descriptor, count, at), size, bytes.fromhex(key)
            )
        except Broken as error:
            raise OSError(errno.EIO, str(error)) from error


def pread(descriptor: int, count: int, position: int) -> bytes:
    """*count* bytes of a file at *position*, fewer at its end. OSError: also when it isn't as it was written."""
    sealed = _sealed.get(descriptor)
    if sealed is None:
        return os.pread(descriptor, count, position)
    try:
        return sealed.pread(count, position)
    except Broken as error:
        raise OSError(errno.EIO, str(error)) from error


def size_of(descriptor: int) -> int:
    """A file's size, by a call that the sandbox allows; more than there can be where the file has none."""
    sealed = _sealed.get(descriptor)
    if sealed is not None:
        return sealed.size
    try:
        return os.lseek(descriptor, 0, os.SEEK_END)
    except OSError:
        return _NO_SIZE
