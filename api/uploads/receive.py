"""A request's body, written once to where it stays while it is hashed, whatever form it comes in."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

from api.uploads.fetch import HEAD_BYTES, fetch
from api.uploads.filenames import DEFAULT, disposition
from api.uploads.form import Form, printable
from api.uploads.incoming import Incoming
from api.uploads.json_form import JsonForm
from api.uploads.multipart import MultipartForm
from api.uploads.references import samples_of
from transcription.errors import (
    EmptyFile,
    MalformedRequest,
    MissingFile,
    TooLarge,
    UnsupportedMedia,
    UploadIncomplete,
)
from transcription.options import parse_options
from transcription.ports import BlobStore, Upload
from transcription.settings import Limits
from transcription.settings.outbound import Outbound

NO_FETCHING = Outbound(url_ingestion=False)
_RAW_TYPES = {"application/octet-stream", "application/ogg"}


@dataclass(frozen=True, slots=True)
class Received:
    """What came: the audio, not yet kept, and its first bytes; the name it goes by; the options, not yet validated."""

    upload: Upload
    filename: str
    fields: dict[str, object]
    head: bytes = b""


@dataclass(slots=True)
class RequestFormat:
    """
    How an API spells a submission; one value for each request.

    ``file_fields``: the names that a form's file may have; ``options`` makes our options of what came; ``json_form``
    reads a JSON body; ``ttl_s``: how long the result is kept unless the client says, None: as any. ``form`` is the body
    on its way in, None before that.
    """

    file_fields: tuple[str, ...] = ("file",)
    options: Callable[[Received], dict[str, object]] = lambda received: received.fields
    json_form: Callable[[], Form] = JsonForm
    ttl_s: int | None = None
    form: Form | None = field(default=None, init=False)

    @property
    def file_field(self) -> str:
        """The name under which a form brought the file, or should have; «» where that isn't known."""
        return self.form.file_field if self.form else ""


@asynccontextmanager
async def receive(
    incoming: Incoming,
    *,
    blobs: BlobStore,
    limits: Limits,
    outbound: Outbound = NO_FETCHING,
    request_format: RequestFormat | None = None,
) -> AsyncIterator[Received]:
    """
    Read the request's body; whatever isn't committed inside the block is gone after it.

    Args:
        incoming: Multipart, raw audio, or JSON.
        blobs: Where the audio goes.
        limits: Largest upload in bytes, longest silence in seconds.
        outbound: Where audio may be fetched from; by default from nowhere.
        request_format: How this API spells a submission; by default the native way.

    Raises:
        TooLarge: by its `Content-Length`, before a byte is read, or by what came.
        UploadIncomplete: the client went away, or was silent for too long.
        EmptyFile: no bytes of audio.
        MalformedRequest, MissingFile, TooManyFiles, BadBase64, UnsupportedMedia: see the three forms.
        UrlNotAllowed, UrlUnreachable: see `fetch`.
    """
    request_format = request_format or RequestFormat()
    form = request_format.form = _form(incoming, request_format)
    _check_declared(incoming, form, limits)
    _add_query(incoming, form)
    upload = blobs.upload(expected_bytes=incoming.declared_bytes)
    try:
        head = await _fill(upload, form, incoming, limits)
        form.close()
        if form.url is not None:
            if upload.size:
                raise MalformedRequest("both 'audio' and 'url' came; send one recording with each request")
            # What is wrong with the options is said before anything is fetched.
            parse_options(samples_of(request_format.options(Received(upload, form.filename, form.fields)))[0])
            fetched = await fetch(form.url, upload, limits=limits, outbound=outbound, owner=incoming.client.tenant)
            head = fetched.head
            form.filename = fetched.filename if form.filename == DEFAULT else form.filename
        if not upload.size:
            raise EmptyFile(f"the file {form.filename!r} has no bytes")
        yield Received(upload, form.filename, form.fields, head)
    finally:
        await upload.abort()


def _form(incoming: Incoming, request_format: RequestFormat) -> Form:
    file_field = request_format.file_fields[0]
    header = incoming.headers.get("content-type", "")
    kind = header.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return MultipartForm(header, file_fields=request_format.file_fields)
    if kind == "application/json":
        return request_format.json_form()
    if kind in _RAW_TYPES or kind.startswith(("audio/", "video/")):
        return Form(disposition(incoming.headers.get("content-disposition", ""))[1])
    if kind == "application/x-www-form-urlencoded":
        raise MissingFile(f"this form can't bring a file; send multipart/form-data with the field {file_field!r}")
    raise UnsupportedMedia(
        f"Content-Type is {printable(kind)!r}; send multipart/form-data with the field {file_field!r}, audio/*, "
        "video/*, application/octet-stream, or application/json with 'audio' in base64"
    )


def _add_query(incoming: Incoming, form: Form) -> None:
    """Options may stand in the query too; with a raw body there is no other place."""
    names = dict(incoming.query)
    if type(form) is Form and "filename" in names:
        form.filename = Form(names["filename"]).filename
    for name, value in incoming.query:
        if name != "filename":
            form.add(name, value)


def _check_declared(incoming: Incoming, form: Form, limits: Limits) -> None:
    declared = incoming.declared_bytes
    if declared > form.body_limit(limits.max_upload_bytes):
        raise _too_large(form.audio_at_least(declared), limits)


async def _fill(upload: Upload, form: Form, incoming: Incoming, limits: Limits) -> bytes:
    """Write the audio as it comes; its first bytes."""
    head = b""
    body_limit = form.body_limit(limits.max_upload_bytes)
    body_bytes = 0
    async with aclosing(_body(incoming, limits)) as chunks:
        async for chunk in chunks:
            body_bytes += len(chunk)
            if body_bytes > body_limit:
                raise _too_large(form.audio_at_least(body_bytes), limits)
            for audio in form.feed(chunk):
                head += audio[: HEAD_BYTES - len(head)]
                await upload.write(audio)
            if upload.size > limits.max_upload_bytes:
                raise _too_large(upload.size, limits)
    return head


async def _body(incoming: Incoming, limits: Limits) -> AsyncGenerator[bytes, None]:
    chunks, timeout_s = incoming.body(), limits.upload_timeout_s
    began, received_bytes = time.monotonic(), 0
    while True:
        _check_pace(time.monotonic() - began, received_bytes, limits)
        try:
            async with asyncio.timeout(timeout_s):
                chunk = await anext(chunks, None)
        except TimeoutError as error:
            raise UploadIncomplete(
                f"no byte came for {timeout_s:g} s in the middle of the upload (MURMUR_LIMITS__UPLOAD_TIMEOUT_S)"
            ) from error
        if chunk is None:
            return
        received_bytes += len(chunk)
        yield chunk


def _check_pace(seconds: float, received_bytes: int, limits: Limits) -> None:
    """A body that trickles in would hold its connection for days without ever being silent."""
    if seconds > limits.max_upload_s:
        raise UploadIncomplete(f"the upload took more than {limits.max_upload_s:g} s (MURMUR_LIMITS__MAX_UPLOAD_S)")
    if seconds > limits.upload_timeout_s and received_bytes < seconds * limits.min_upload_bytes_per_s:
        raise UploadIncomplete(
            f"{received_bytes} bytes came in {seconds:.0f} s; at least {limits.min_upload_bytes_per_s} a second "
            "are needed (MURMUR_LIMITS__MIN_UPLOAD_BYTES_PER_S)"
        )


def _too_large(size: int, limits: Limits) -> TooLarge:
    limit = limits.max_upload_bytes
    return TooLarge(
        f"audio is {_format_bytes(size)} or more; the limit is {_format_bytes(limit)} (MURMUR_LIMITS__MAX_UPLOAD_BYTES)"
    )


def _format_bytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1_000_000 else f"{size} bytes"
