"""`murmur watch`: whatever comes into a directory is transcribed, once it has stopped growing."""

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from murmur.cli.recordings.failures import Failure
from murmur.cli.recordings.inputs import Source, media_in
from murmur.cli.recordings.transcribe import say

QUIET_S = 2.0
POLL_S = 1.0
FIRST_PAUSE_S = 10.0
LONGEST_PAUSE_S = 600.0
NEVER = math.inf


@dataclass(slots=True)
class File:
    """
    A file as it was last seen: its size, and when it was changed, in nanoseconds.

    ``due`` is when it may be sent, by the monotonic clock; ``pause`` the seconds until the next try, should that fail.
    """

    state: tuple[int, int]
    due: float
    pause: float = FIRST_PAUSE_S


class Watch:
    """
    The recordings of a directory, as they come, those first that are there; again when one is replaced.

    Args:
        directory: Watched, with everything below it.
        console: Told what is left out, and when the next try is.
        once: End when everything that is there has been yielded once.
    """

    def __init__(self, directory: Path, console: Console, *, once: bool = False) -> None:
        self._directory, self._console, self._once = directory, console, once
        self._files: dict[Path, File] = {}

    def arrivals(self) -> Iterator[list[Source]]:
        """Yield what has stopped growing since the last time."""
        while True:
            ready, growing = self._look()
            if ready:
                yield ready
            if self._once and not growing:
                return
            time.sleep(POLL_S)

    def again(self, failures: Iterable[Failure]) -> None:
        """Have what failed for a reason that passes come again, after a pause that grows with every failure."""
        for failure in failures:
            if failure.passes and not self._once:
                file = self._files[Path(failure.source.label)]
                file.due = time.monotonic() + file.pause
                say(self._console, f"{failure.source.name}: the next try is in {file.pause:.0f} s")
                file.pause = min(2 * file.pause, LONGEST_PAUSE_S)

    def _look(self) -> tuple[list[Source], bool]:
        """What may be sent now, and whether anything may be later."""
        ready, growing = [], False
        for path in media_in(self._directory):
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            state, now = (stat.st_size, stat.st_mtime_ns), time.monotonic()
            file = self._files.get(path)
            # By what is seen to change, not by its age: the file may have that from another clock.
            if file is None or file.state != state:
                file = self._files[path] = File(state, due=now + QUIET_S)
            if now < file.due:
                growing |= file.due < NEVER
                continue
            file.due = NEVER
            if stat.st_size:
                ready.append(Source(str(path), path))
            elif self._once:
                say(self._console, f"{path}: it is empty, and left out")
        return ready, growing
