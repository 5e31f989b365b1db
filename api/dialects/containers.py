"""What a file's first bytes say of it, in the words of file names: for answers that tell a client its format."""

_MAGIC = (
    (0, b"ID3", "mp3"),
    (0, b"fLaC", "flac"),
    (0, b"OggS", "ogg"),
    (0, b"\x1aE\xdf\xa3", "webm"),
    (0, b"FLV", "flv"),
    (0, b"\x30\x26\xb2\x75", "wma"),
    (8, b"WAVE", "wav"),
    (8, b"AVI ", "avi"),
    (8, b"M4A", "m4a"),
    (8, b"M4B", "m4a"),
    (8, b"qt", "mov"),
    (4, b"ftyp", "mp4"),
)


def format_of(head: bytes) -> str:
    """
    Name the container that begins with *head*.

    Args:
        head: The first 16 bytes; WebM and Matroska, WMA and WMV begin alike.

    Returns:
        As `mp3`, `wav`, `m4a`; «unknown» for what isn't listed. Whether it can be decoded is the probe's business.
    """
    for at, magic, name in _MAGIC:
        if head[at : at + len(magic)] == magic:
            return name
    if len(head) > 1 and head[0] == 0xFF:
        # The layer's bits tell MPEG audio from ADTS.
        return "aac" if head[1] & 0xF6 == 0xF0 else "mp3" if head[1] & 0xE0 == 0xE0 else "unknown"
    return "unknown"
