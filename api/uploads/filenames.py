"""Names of files: what came in made safe, what goes out as a header (RFC 6266, RFC 8187)."""

import re
import unicodedata
from urllib.parse import quote, unquote

from python_multipart.multipart import parse_options_header

DEFAULT = "audio"
_MAX_BYTES = 255
_EXTENDED = re.compile(r"filename\*\s*=\s*(utf-8|iso-8859-1)'[^']*'([^;\s]+)", re.IGNORECASE)


def safe_name(name: str | None) -> str:
    """
    The last part of a client's path, fit to be shown, logged and sent back.

    Args:
        name: As the client sent it: maybe with directories, control characters, or kilobytes long.

    Returns:
        At most 255 bytes of UTF-8 without slashes or control characters; «audio» when nothing is left.
    """
    last = (name or "").replace("\\", "/").rstrip("/").rpartition("/")[2]
    # Cc: control; Cf: direction overrides that make exe look like mp3; Cs: half a surrogate, which UTF-8 can't hold.
    kept = "".join(c for c in last if unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}).strip()
    stem, dot, extension = kept.rpartition(".")
    tail = f"{dot}{extension}" if stem and len(extension.encode()) <= 16 else ""
    head = kept[: len(kept) - len(tail)].encode()[: _MAX_BYTES - len(tail.encode())].decode(errors="ignore")
    name = head + tail
    return DEFAULT if name in {"", ".", ".."} else name


def disposition(header: str) -> tuple[str, str | None]:
    """The field name and the file name in a `Content-Disposition`; «» and None where there is none."""
    _, parameters = parse_options_header(header)
    extended = _EXTENDED.search(header)
    plain = parameters.get(b"filename")
    filename = None if plain is None else _text(plain)
    if extended:
        filename = unquote(extended[2], extended[1], "replace")
    return _text(parameters.get(b"name", b"")), filename


def content_disposition(source: str, extension: str) -> str:
    """The header that names a result after its *source*: `talk.mp3` and `srt` give `talk.srt`."""
    name = f"{source.rpartition('.')[0] or source}.{extension}"
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in name)
    return f"inline; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _text(value: bytes) -> str:
    """Browsers and curl mean UTF-8; what isn't that is latin-1."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
