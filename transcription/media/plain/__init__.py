"""
Looks at files that leave no question: what is in them can be said without codecs, and by Python alone.

Nearly every short recording is such a one, and a process of its own for each would be most of what a submit costs.
Each look answers as `codecs.probe` does, or that it can't tell. It reads a bounded number of bytes, decodes nothing,
and calls no native code but that of Python itself: a hostile file meets less here than a hostile request does.
"""

import os
from typing import Any

from transcription.media.plain import flac, wave

_LOOKS = {b"RIFF": wave.look, b"fLaC": flac.look}


def look(descriptor: int, *, max_duration_s: float) -> dict[str, Any] | None:
    """What an unencrypted file holds, as `codecs.probe.probe_descriptor` says it; None: this can't tell. OSError."""
    found = _LOOKS.get(os.pread(descriptor, 4, 0))
    return None if found is None else found(descriptor, max_duration_s=max_duration_s)
