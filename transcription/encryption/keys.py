"""Who wraps and unwraps files' keys: a file of master keys, or whatever is named in its place, as a KMS."""

import base64
import binascii
import importlib
import secrets
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from transcription.errors import StorageUnavailable
from transcription.settings.encryption import Encryption

_NONCE_BYTES = 12
_KEY_BYTES = 32
_RETRY_S = 60


class KeyProvider(Protocol):
    """Keeps master keys. Threads share it; what it raises must be of our own tree of errors."""

    def wrap(self, key: bytes) -> bytes:
        """A file's *key*, encrypted with the present master key; at most 900 bytes. StorageUnavailable."""

    def unwrap(self, wrapped: bytes) -> bytes:
        """What `wrap` was given, also before the master key was changed. StorageUnavailable."""


class KeyFile:
    """
    Master keys in a file: a line each, a name and 32 bytes in base64. The first one wraps, all unwrap.

    Raises:
        ValueError: the file can't be read, or holds no such lines.
    """

    def __init__(self, path: Path) -> None:
        try:
            rows = [line.split() for line in path.read_text("utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"MURMUR_ENCRYPTION__KEY_FILE: {path} can't be read ({error})") from error
        self._keys = {row[0]: _master(path, row) for row in rows if not row[0].startswith("#")}
        if not self._keys:
            raise ValueError(f"MURMUR_ENCRYPTION__KEY_FILE: {path} holds no key; a line is: NAME BASE64-OF-32-BYTES")
        self._present = next(iter(self._keys))

    def wrap(self, key: bytes) -> bytes:
        """A file's *key*, encrypted with the first master key."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        name = self._present.encode()
        return bytes([len(name)]) + name + nonce + self._keys[self._present].encrypt(nonce, key, name)

    def unwrap(self, wrapped: bytes) -> bytes:
        """What `wrap` was given. StorageUnavailable: no such master key is here."""
        length = wrapped[0] if wrapped else 0
        name, rest = wrapped[1 : 1 + length], wrapped[1 + length :]
        cipher = self._keys.get(name.decode("utf-8", "replace"))
        if cipher is None:
            raise unavailable(f"it needs the master key {name.decode('utf-8', 'replace')[:60]!r}, which isn't here")
        try:
            return cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], name)
        except InvalidTag as error:
            raise unavailable("its key was wrapped with another master key of the same name") from error


def open_provider(settings: Encryption) -> KeyProvider | None:
    """The provider that the settings name; None: nothing is encrypted. ValueError: it can't be had."""
    if settings.provider:
        module, _, name = settings.provider.partition(":")
        try:
            made: KeyProvider = getattr(importlib.import_module(module), name)()
        except (ImportError, AttributeError) as error:
            raise ValueError(f"MURMUR_ENCRYPTION__PROVIDER: {settings.provider} can't be loaded ({error})") from error
        return made
    return KeyFile(Path(settings.key_file).expanduser()) if settings.key_file else None


def unavailable(why: str) -> StorageUnavailable:
    """The error for a file whose key can't be unwrapped."""
    return StorageUnavailable(f"a stored file can't be decrypted: {why}", retry_after_s=_RETRY_S)


def _master(path: Path, row: list[str]) -> AESGCM:
    try:
        key = base64.b64decode(row[1], validate=True) if len(row) == 2 else b""
    except binascii.Error:
        key = b""
    if len(key) != _KEY_BYTES or not 0 < len(row[0].encode()) <= 200:
        raise ValueError(f"MURMUR_ENCRYPTION__KEY_FILE: a line of {path} must be: NAME BASE64-OF-32-BYTES")
    return AESGCM(key)
