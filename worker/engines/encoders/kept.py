"""Encodings that are needed twice: to tell the language, then to write."""

import threading
from collections import OrderedDict

from worker.engines.row import Floats

REMEMBERED = 32
"""At least; of large in float16 that is 123 MB."""


class Encodings:
    """Encodings that were needed to tell the language and will be needed again; each is handed out once."""

    def __init__(self, most: int = REMEMBERED) -> None:
        """Keep *most* of them: of fewer than there are spans in work, some are forgotten before they are needed."""
        self._most = most
        self._kept: OrderedDict[tuple[bytes, int], Floats] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, sound: tuple[bytes, int], encoding: Floats) -> None:
        """Keep the encoding of *sound*, a digest and the frames heard of it; the oldest goes where there are many."""
        with self._lock:
            self._kept[sound] = encoding
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)

    def get(self, sound: tuple[bytes, int]) -> Floats | None:
        """The encoding of *sound*, which is forgotten; None: it isn't kept."""
        with self._lock:
            return self._kept.pop(sound, None)
