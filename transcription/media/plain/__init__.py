"""
Files that leave no question: what is in them can be said without codecs, and by Python alone.

Nearly every short recording is such a one, and a process of its own for each would be most of what a submit costs.
Each look answers as `codecs.probe` does, or that it can't tell. It reads a bounded number of bytes, decodes nothing,
and calls no native code but that of Python itself: a hostile file meets less here than a hostile request does. The
samples of some needn't be decoded either: they are copied, whatever they are.
"""

import os
from collections.abc import Callable
from typing import Any

from transcription.media.audio import RATE
from transcription.media.plain import flac, wave

_PIECE = 1 << 22
_LOOKS = {b"RIFF": wave.look, b"fLaC": flac.look}


def look(descriptor: int, *, max_duration_s: float) -> dict[str, Any] | None:
    """What an unencrypted file holds, as `codecs.probe.probe_descriptor` says it; None: this can't tell. OSError."""
    found = _LOOKS.get(os.pread(descriptor, 4, 0))
    return None if found is None else found(descriptor, max_duration_s=max_duration_s)


def copy(source: int, target: int, *, max_duration_s: float, moved: Callable[[], Any]) -> dict[str, Any] | None:
    """
    Copy the samples of an unencrypted file that are as a worker hears them: mono, 16 kHz, 16 bits.

    Args:
        source: The file's descriptor.
        target: Where they go, as `codecs.decode.decode_into` writes them.
        max_duration_s: The longest sound to take.
        moved: Called for each piece; what it raises ends the copying.

    Returns:
        What `codecs.decode.decode_into` reports of such a file; None: it takes a codec, or a resampler. Nothing is
        written then.

    Raises:
        OSError: it can't be read or written.
    """
    held = wave.held(source, max_duration_s=max_duration_s)
    if held is None or (held.rate, held.channels) != (RATE, 1):
        return None
    size = 0
    while piece := os.pread(source, _PIECE, held.begin + size):
        size += len(piece)
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(target, rest) :]
        moved()
    (track,) = held.described()["tracks"]
    return {"samples": size // 2, "holes": [], "warnings": [], "tracks": [{**track, "taken": True}], "same_as": None}
