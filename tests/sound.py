"""Recordings for tests, in files as workers have them."""

from collections.abc import Iterable
from io import FileIO
from pathlib import Path
from tempfile import mkstemp
from typing import Any, BinaryIO, cast

import numpy as np

from transcription.media.audio import FULL_SCALE, Samples
from transcription.media.codecs.decode import decode_into
from transcription.media.recording import Recording
from transcription.media.timeline import Hole, Holes


class _Closing(FileIO):
    """Ends with the last who uses it, without a warning."""

    def __del__(self) -> None:
        self.close()


def empty() -> BinaryIO:
    """A file for a decoder."""
    descriptor, name = mkstemp()
    Path(name).unlink()
    return cast("BinaryIO", _Closing(descriptor, "r+b"))


def recording(samples: Samples, holes: Iterable[Hole] = ()) -> Recording:
    """One that holds *samples*."""
    file = empty()
    file.write(np.rint(samples * FULL_SCALE).astype("<i2").tobytes())
    return Recording(file, size=samples.size, holes=Holes(holes))


def decoded(path: Path, *, limit_s: float, **asked: Any) -> Recording:
    """What the codecs make of a file, in this process."""
    file = empty()
    with path.open("rb") as source:
        report = decode_into(source.fileno(), file.fileno(), limit_s=limit_s, **asked)
    return Recording.from_report(file, file.tell() // 2, report)
