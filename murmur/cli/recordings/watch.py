"""`murmur watch`: whatever comes into a directory is transcribed, once it has stopped growing."""

import time
from collections.abc import Iterator
from pathlib import Path

from murmur.cli.recordings.inputs import Source, media_in

QUIET_S = 2.0
POLL_S = 1.0


def arrivals(directory: Path, *, once: bool = False) -> Iterator[list[Source]]:
    """
    Yield recordings as they come, those first that are there; again when one is replaced.

    Args:
        directory: Watched, with everything below it.
        once: End when everything that is there has been yielded.
    """
    seen: dict[Path, tuple[int, int]] = {}
    while True:
        ready, growing = [], False
        for path in media_in(directory):
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            state = (stat.st_size, stat.st_mtime_ns)
            if seen.get(path) == state:
                continue
            # What is still being copied isn't a recording yet.
            if time.time() - stat.st_mtime < QUIET_S or not stat.st_size:
                growing = True
                continue
            seen[path] = state
            ready.append(Source(str(path), path))
        if ready:
            yield ready
        if once and not growing:
            return
        time.sleep(POLL_S)
