"""A recording that a client names by its URL, fetched into the same upload as one that is sent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import httpx

from api.uploads.filenames import disposition, safe_name
from transcription.errors import TooLarge, UnsupportedMedia, UrlNotAllowed, UrlUnreachable
from transcription.network.guard import client, opened
from transcription.network.lookups import LookupFailed
from transcription.ports import Upload
from transcription.settings import Limits
from transcription.settings.outbound import Outbound

MAX_REDIRECTS = 5
HEAD_BYTES = 16
_REDIRECTS = {301, 302, 303, 307, 308}
_PAGES = {"application/json", "application/xml", "application/xhtml+xml", "application/pdf"}


@dataclass(frozen=True, slots=True)
class Fetched:
    """The name of what came, and its first bytes."""

    filename: str
    head: bytes


async def fetch(url: str, upload: Upload, *, limits: Limits, outbound: Outbound, owner: str = "") -> Fetched:
    """
    Write what is at *url* into *upload*, as it comes; *owner* is the tenant who wants it.

    Raises:
        UrlNotAllowed: fetching isn't enabled, or the URL, or one that it redirects to, leads inside.
        UrlUnreachable: no answer, none with status 200, or none in time.
        TooLarge: by its `Content-Length`, before a byte is read, or by what came.
        UnsupportedMedia: a page, not a recording.
    """
    if not outbound.url_ingestion:
        raise UrlNotAllowed(
            "fetching audio from a URL isn't enabled on this platform (MURMUR_OUTBOUND__URL_INGESTION); send the bytes"
        )
    try:
        async with (
            asyncio.timeout(outbound.fetch_timeout_s),
            client(silence_s=limits.upload_timeout_s) as http,
            _followed(http, url, private=outbound.allow_private_addresses, owner=owner) as answer,
        ):
            return await _write(answer, url, upload, limits)
    except TimeoutError as error:
        limit = f"{outbound.fetch_timeout_s:g} s (MURMUR_OUTBOUND__FETCH_TIMEOUT_S)"
        raise UrlUnreachable(f"fetching the recording took more than {limit}") from error
    except LookupFailed as error:
        if outbound.allow_private_addresses:
            raise UrlUnreachable(error.message) from error
        # Nobody may learn from an error which names there are inside.
        raise UrlNotAllowed(error.message) from error
    except httpx.HTTPError as error:
        raise UrlUnreachable(f"the connection failed in the middle: {str(error) or type(error).__name__}") from error


@asynccontextmanager
async def _followed(http: httpx.AsyncClient, url: str, *, private: bool, owner: str) -> AsyncIterator[httpx.Response]:
    """The answer at the end of the redirects; each of them is checked as the first URL was."""
    headers = {"user-agent": "Murmuration", "accept": "audio/*, video/*, */*;q=0.5", "accept-encoding": "identity"}
    platform = url
    for _ in range(MAX_REDIRECTS + 1):
        async with opened(http, "GET", platform, allow_private=private, headers=headers, owner=owner) as answer:
            location = answer.headers.get("location", "")
            if answer.status_code not in _REDIRECTS or not location:
                if answer.status_code != httpx.codes.OK:
                    raise UrlUnreachable(f"the URL answered {answer.status_code} {answer.reason_phrase}".rstrip())
                yield answer
                return
        try:
            platform = str(httpx.URL(platform).join(location))
        except httpx.InvalidURL as error:
            raise UrlUnreachable("the URL redirects to something that is no URL") from error
    raise UrlUnreachable(f"the URL redirects more than {MAX_REDIRECTS} times")


async def _write(answer: httpx.Response, url: str, upload: Upload, limits: Limits) -> Fetched:
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind.startswith("text/") or kind in _PAGES:
        raise UnsupportedMedia(f"the URL leads to {kind[:80]}, not to a recording")
    declared = answer.headers.get("content-length", "")
    if declared.isdigit() and len(declared) < 20:
        _check_size(int(declared), limits)
    head = b""
    async for chunk in answer.aiter_raw():
        head += chunk[: HEAD_BYTES - len(head)]
        await upload.write(chunk)
        _check_size(upload.size, limits)
    answer.headers.encoding = "latin-1"  # as `disposition` takes a header, whichever bytes the name has
    named = disposition(answer.headers.get("content-disposition", ""))[1]
    return Fetched(safe_name(named or unquote(urlsplit(url).path)), head)


def _check_size(size: int, limits: Limits) -> None:
    if size > limits.max_upload_bytes:
        raise TooLarge(
            f"the recording at the URL has {size} bytes or more; the limit is {limits.max_upload_bytes} "
            "(MURMUR_LIMITS__MAX_UPLOAD_BYTES)"
        )
