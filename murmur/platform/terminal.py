"""What the platform prints while it runs: its children's lines under their names, and its own."""

import sys
import threading
from typing import TextIO

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

STYLES = {"murmur": "bold cyan", "api": "blue", "ledger": "magenta"}
WORKER_STYLES = ("green", "yellow", "cyan", "bright_green", "bright_yellow", "bright_cyan")
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
        stream = stream or sys.stdout
        # No colours where it goes to a program, or NO_COLOR is set: rich sees to both.
        self._console = Console(file=stream, width=None if stream.isatty() else WIDE)
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
            line = Text.assemble((f"{name:<{WIDTH}}", _style(name)), f"| {text}")
            self._console.print(line, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print a line of the platform's own."""
        self.line("murmur", text)

    def panel(self, text: str, *, title: str = "", style: str = "cyan") -> None:
        """Print *text* in a frame, however quiet the rest is."""
        with self._lock:
            self._console.print(Panel(text, title=title, border_style=style, expand=False), markup=False)


def _style(name: str) -> str:
    return STYLES.get(name) or WORKER_STYLES[sum(name.encode()) % len(WORKER_STYLES)]
