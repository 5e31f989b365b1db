"""What the platform prints while it runs: its children's lines under their names, and its own."""

import sys
import threading
from typing import TextIO

from rich.console import Console
from rich.panel import Panel

COLOURS = {"murmur": "1;36", "api": "34", "ledger": "35"}
WORKER_COLOURS = ("32", "33", "36", "92", "93", "96")
WIDTH = 7
WIDE = 160


class Terminal:
    """
    Writes whole lines from several threads, each under the name of whoever said it.

    Args:
        stream: Where to; by default standard output.
        quiet: Keep the children's lines for later instead of printing them.
    """

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        self._stream = stream or sys.stdout
        self._colour = self._stream.isatty()
        self._lock = threading.Lock()
        self._quiet = quiet
        self.kept: list[str] = []

    def line(self, name: str, text: str) -> None:
        """Print one line under *name*."""
        with self._lock:
            if self._quiet:
                self.kept.append(f"{name:<{WIDTH}}| {text}")
                del self.kept[:-200]
                return
            print(f"{self._painted(name)}| {text}", file=self._stream, flush=True)

    def say(self, text: str) -> None:
        """Print a line of the platform's own."""
        self.line("murmur", text)

    def panel(self, text: str, *, title: str = "", style: str = "cyan") -> None:
        """Print *text* in a frame, however quiet the rest is."""
        width = None if self._stream.isatty() else WIDE
        with self._lock:
            Console(file=self._stream, width=width).print(
                Panel(text, title=title, border_style=style, expand=False), markup=False
            )

    def _painted(self, name: str) -> str:
        padded = f"{name:<{WIDTH}}"
        if not self._colour:
            return padded
        colour = COLOURS.get(name) or WORKER_COLOURS[sum(name.encode()) % len(WORKER_COLOURS)]
        return f"\x1b[{colour}m{padded}\x1b[0m"
