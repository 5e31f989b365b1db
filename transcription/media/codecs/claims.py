"""Claims: what a file says of its own length, and how far that can be believed."""

from av.container import InputContainer

from transcription.media.codecs.frames import BARE
from transcription.media.containers.file_bytes import Bytes
from transcription.media.containers.part import Part
from transcription.tracks import Track

# Containers whose header says how long they are; in the others FFmpeg guesses from bit rates or the last stamps.
_SAYING = {
    "aiff", "ape", "au", "caf", "dsf", "flac", "flv", "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "mpc", "mpc8", "tak",
    "tta", "w64", "wav", "wv",
}  # fmt: skip
_XING = (b"Xing", b"Info", b"VBRI")
_LOSSY = {
    "opus",
    "vorbis",
    "aac",
    "mp3",
    "mp3float",
    "amrnb",
    "amr_nb",
    "amrwb",
    "amr_wb",
    "ac3",
    "eac3",
    "wmav2",
    "mp2",
}
LEAST_RATE, MOST_LOSSY_RATE, MOST_VIDEO_RATE = 100, 100_000, 12_500_000
"""Bytes a second that a recording may have by its claimed length."""

_SLACK_S = 0.5
_SLACK = 0.01


def claimed_s(container: InputContainer, track: Track) -> float:
    """How long the track is by its container, from the container's start on, in seconds; 0.0 where it doesn't say."""
    start = max(0, container.start_time or 0) / 1_000_000
    stream = container.streams.audio[track.number - 1]
    if stream.duration is not None and stream.duration > 0 and stream.time_base is not None:
        begin = float((stream.start_time or 0) * stream.time_base)
        return max(0.0, begin - start) + float(stream.duration * stream.time_base)
    if container.duration is not None and container.duration > 0:
        # Matroska's is where its last stamp may be; FFmpeg hands it on as it is.
        whole = container.duration / 1_000_000
        return whole - start if container.format.name == "matroska,webm" and whole > start else whole
    return 0.0


def is_in_header(container: InputContainer, file: Bytes, part: Part) -> bool:
    """Whether the length is stated in a header, and isn't a guess of FFmpeg's."""
    if container.format.name != "mp3":
        return container.format.name in _SAYING
    head = file.get(part.start, 10)
    after = 10 + sum((byte & 127) << 7 * (3 - n) for n, byte in enumerate(head[6:10])) if head[:3] == b"ID3" else 0
    return any(mark in file.get(part.start + after, 4096) for mark in _XING)


def is_believable(container: InputContainer, track: Track, part: Part, file: Bytes, *, limit_s: float) -> bool:
    """Whether a claimed length needs no measuring: a header says it, it is allowed, and the bytes can be so long."""
    claim = claimed_s(container, track)
    guessed = container.format.name in BARE and not is_in_header(container, file, part)
    if guessed or not 0 < claim <= limit_s:
        return False
    rate = (part.end - part.start) / claim
    if any(stream.type == "video" for stream in container.streams):
        return LEAST_RATE < rate < MOST_VIDEO_RATE
    channels, hertz = max(1, track.channels), track.sample_rate or 48_000
    most = MOST_LOSSY_RATE if track.codec in _LOSSY else channels * hertz * 4.5
    others = sum(1 for stream in container.streams.audio) or 1
    return LEAST_RATE < rate < most * others + 2000


def cut_short(
    container: InputContainer, track: Track, part: Part, file: Bytes, *, heard_s: float, seen_s: float
) -> float | None:
    """
    How much of a part's end is missing, in seconds.

    Args:
        container: The part, read to its end.
        track: The one that was decoded.
        part: Its bounds.
        file: The whole file.
        heard_s: How long the sound is.
        seen_s: How far any of its tracks goes.

    Returns:
        None where nothing says that anything is missing; 0.0 where something is and nobody knows how much.
    """
    if part.goes_on:
        return None
    claim = claimed_s(container, track) if is_in_header(container, file, part) else 0.0
    behind = claim - max(heard_s, seen_s)
    if part.missing:
        return behind if behind > _SLACK_S else part.missing * heard_s / max(1, part.end - part.start)
    if container.format.name == "mpegts" and part.end == file.size and not _ends_with_packet(file):
        return 0.0
    return behind if behind > max(_SLACK_S, _SLACK * claim) else None


def _ends_with_packet(file: Bytes) -> bool:
    """Whether an MPEG transport stream ends where a packet does: of 188 bytes, with or without a checksum behind."""
    return any(file.get(max(0, file.size - size), 1) == b"G" for size in (188, 204, 208))
