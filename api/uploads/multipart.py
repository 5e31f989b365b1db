"""Forms with a file: `multipart/form-data`, parsed while it comes."""

from collections.abc import Iterable

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from api.uploads.filenames import disposition, safe_name
from api.uploads.form import (
    MAX_FIELDS,
    MAX_FIELDS_BYTES,
    MAX_SAMPLES_BYTES,
    OVERHEAD_BYTES,
    Form,
    is_sample,
    printable,
)
from transcription.errors import MalformedRequest, MissingFile, TooManyFiles


class MultipartForm(Form):
    """A form whose one file is passed on as it comes, and whose text fields are kept."""

    def __init__(self, content_type: str, *, file_fields: tuple[str, ...] = ("file",)) -> None:
        """
        Begin to parse.

        Args:
            content_type: The request's header, with the boundary.
            file_fields: Names that the field with the audio may have.

        Raises:
            MalformedRequest: no boundary, or one that no form has.
        """
        super().__init__()
        boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
        if not boundary:
            raise MalformedRequest("multipart/form-data without a boundary; let your HTTP client write that header")
        self._file_fields = file_fields
        self._audio: list[bytes] = []
        self._seen: list[str] = []
        self._files = 0
        self._kept_bytes = self._sample_bytes = 0
        self._name = ""
        self._in_file = self._sample_file = False
        self._headers: dict[bytes, bytes] = {}
        self._header = (bytearray(), bytearray())
        self._value = bytearray()
        self._ended = False
        try:
            self._parser = MultipartParser(boundary, self._callbacks())  # type: ignore[arg-type]
        except FormParserError as error:
            raise MalformedRequest(f"the form's boundary isn't usable: {error}") from error

    def body_limit(self, max_audio_bytes: int) -> int:
        """The longest body that can bring *max_audio_bytes* of audio."""
        return max_audio_bytes + OVERHEAD_BYTES

    def audio_at_least(self, body_bytes: int) -> int:
        """How much audio a body of *body_bytes* must bring."""
        return body_bytes - OVERHEAD_BYTES

    def feed(self, chunk: bytes) -> Iterable[bytes]:
        """
        Take the next bytes of the body, and give the audio among them.

        Raises:
            MalformedRequest: no form, or too much text in it.
            MissingFile: the file came under another name.
            TooManyFiles: a second file.
        """
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise MalformedRequest(f"the body is no multipart form: {error}") from error
        audio, self._audio = self._audio, []
        return audio

    def close(self) -> None:
        """
        Say that the body has ended.

        Raises:
            MalformedRequest: the closing boundary never came.
            MissingFile: no field was the file.
        """
        if not self._ended:
            raise MalformedRequest("the form's closing boundary never came: its end is missing")
        if not self._files:
            raise MissingFile(self._missing())

    def _callbacks(self) -> dict[str, object]:
        return {
            "on_part_begin": self._part_begin,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_end": self._end,
        }

    def _part_begin(self) -> None:
        self._headers = {}
        self._value = bytearray()
        if len(self._seen) > MAX_FIELDS:
            raise MalformedRequest(f"the form has more than {MAX_FIELDS} parts")

    def _header_end(self) -> None:
        name, value = self._header
        self._headers[bytes(name).lower()] = bytes(value)
        self._header = (bytearray(), bytearray())

    def _headers_finished(self) -> None:
        header = self._headers.get(b"content-disposition", b"").decode("latin-1")
        self._name, filename = disposition(header)
        if not self._name:
            raise MalformedRequest("a part of the form has no name")
        self._seen.append(printable(self._name))
        expected = self._name in self._file_fields
        if expected:
            self.file_field = self._name
        self._sample_file = is_sample(self._name) and filename is not None
        if self._sample_file:
            self._in_file = False
            return
        typed = expected and b"content-type" in self._headers
        self._in_file = filename is not None or typed
        if not self._in_file:
            return
        if self._files:
            raise TooManyFiles(f"a second file came, in field {self._seen[-1]!r}; send one file with each request")
        if not expected:
            raise MissingFile(self._missing())
        self._files = 1
        self.filename = safe_name(filename)

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._audio.append(data[start:end])
            return
        if is_sample(self._name):
            self._sample_bytes += end - start
        else:
            self._kept_bytes += end - start
        if self._kept_bytes > MAX_FIELDS_BYTES:
            raise MalformedRequest(f"the form's text fields are longer than {MAX_FIELDS_BYTES} bytes together")
        if self._sample_bytes > MAX_SAMPLES_BYTES:
            raise MalformedRequest(f"the samples of known speakers have more than {MAX_SAMPLES_BYTES} bytes together")
        self._value += data[start:end]

    def _part_end(self) -> None:
        if self._in_file:
            return
        if self._name in self._file_fields:
            field = self._name
            raise MissingFile(f"field {field!r} holds text, not a file; with curl: -F {field}=@NAME")
        try:
            if self._sample_file:
                self.add_file(self._name, bytes(self._value))
            else:
                self.add(self._name, self._value.decode())
        except UnicodeDecodeError as error:
            raise MalformedRequest(f"field {self._seen[-1]!r} isn't UTF-8") from error

    def _end(self) -> None:
        self._ended = True

    def _missing(self) -> str:
        got = ", ".join(map(repr, self._seen)) or "no field at all"
        return f"no field {' or '.join(map(repr, self._file_fields))}; got {got}"
