"""The answer of a look at a plain file."""

from typing import Any


def one_track(container: str, codec: str, *, rate: int, channels: int, duration_s: float) -> dict[str, Any]:
    """The answer for a file with one track, about which it says no more than that."""
    shape = {"codec": codec, "sample_rate": rate, "channels": channels}
    track = {"number": 1, **shape, "language": None, "title": None, "default": False, "taken": False}
    return {"container": container, "duration_s": duration_s, "streams": (shape,), "tracks": (track,)}
