"""Links to audio that are good for a while: how workers that share no disk with the API get it from there."""

import hashlib
import hmac
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from transcription.errors import StorageUnavailable
from transcription.storage.cached import missing, unavailable
from transcription.storage.pages import Held, pages

ROOT = "/internal/blobs"
CHUNK_BYTES = 1 << 20
LINK_TTL_S = 120.0
"""How long a link is valid. The clocks of both hosts must agree that well."""

WHERE = "the API's audio"


def sign(secret: str, what: str, expires: int) -> str:
    """The signature of the right to do *what*, a method and a path, until *expires* (seconds since 1970)."""
    return hmac.new(secret.encode(), f"{expires} {what}".encode(), hashlib.sha256).hexdigest()


def valid(secret: str, what: str, *, expires: int, signature: str, now: float) -> bool:
    """Whether *signature* gives the right to do *what* now."""
    return now < expires and hmac.compare_digest(sign(secret, what, expires).encode(), signature.encode())


class ApiSource:
    """
    Audio from the API's internal routes.

    Args:
        url: The API's root.
        secret: What links are signed with; the API has the same.
        ttl_s: How long a link is valid.
    """

    def __init__(self, url: str, *, secret: str, ttl_s: float = LINK_TTL_S) -> None:
        self._url = url.rstrip("/")
        self._secret = secret
        self._ttl_s = ttl_s
        self._client = httpx.Client(timeout=httpx.Timeout(60.0, connect=5.0))

    def read(self, sha256: str) -> Iterator[bytes]:
        """The blob's bytes, a piece at a time. BlobMissing, StorageUnavailable."""
        with self._asked("GET", f"{ROOT}/{sha256}") as answer:
            if answer.status_code == httpx.codes.NOT_FOUND:
                raise missing(sha256, WHERE)
            _check(answer)
            yield from answer.iter_bytes(CHUNK_BYTES)

    def write(self, sha256: str, path: Path) -> None:
        """Refuse: uploads go to the API itself."""
        raise StorageUnavailable(
            f"{path} can't be kept as {sha256}: MURMUR_BLOBS__URL={self._url} is for workers, which only read",
            retry_after_s=60,
        )

    def set_aside(self, sha256: str) -> None:
        """Have the API compare the blob with its name. StorageUnavailable."""
        with self._asked("POST", f"{ROOT}/{sha256}/verify") as answer:
            _check(answer)

    def discard(self, sha256: str, *, older_than_s: float) -> None:  # noqa: ARG002  the API has that as a setting
        """Delete a blob that came in long ago; nothing happens when there is none. StorageUnavailable."""
        with self._asked("DELETE", f"{ROOT}/{sha256}") as answer:
            _check(answer)

    def sweep(self, *, older_than_s: float, held: Held) -> int:
        """Have the API delete older blobs that nobody holds; how many. StorageUnavailable."""
        with self._asked("GET", ROOT) as answer:
            _check(answer)
            answer.read()
            names = answer.json()
        needed = {sha256 for page in pages(names) for sha256 in held(page)}
        unneeded = [sha256 for sha256 in names if sha256 not in needed]
        for sha256 in unneeded:
            self.discard(sha256, older_than_s=older_than_s)
        return len(unneeded)

    @contextmanager
    def _asked(self, method: str, path: str) -> Iterator[httpx.Response]:
        expires = int(time.time() + self._ttl_s) + 1
        link: dict[str, int | str] = {"expires": expires, "signature": sign(self._secret, f"{method} {path}", expires)}
        try:
            with self._client.stream(method, self._url + path, params=link) as answer:
                yield answer
        except httpx.HTTPError as error:
            raise unavailable(WHERE, type(error).__name__) from error


def _check(answer: httpx.Response) -> None:
    if answer.status_code == httpx.codes.FORBIDDEN:
        raise unavailable(WHERE, "status 403; MURMUR_BLOBS__SECRET and the clock must be those of the API")
    if answer.is_error:
        raise unavailable(WHERE, f"status {answer.status_code}")
