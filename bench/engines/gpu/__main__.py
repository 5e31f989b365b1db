"""One row of the table: `python -m bench.engines.gpu ROW`."""

import sys
from importlib import import_module

from bench.engines.gpu.record import OUT

ROWS = {
    "prepare": "scale", "check": "check", "kernels": "kernels", "torch": "ours", "long": "ours", "ct2": "ours",
    "sizes": "ours", "bare_loop": "bare_loop", "peers": "others", "transformers": "others",
    "platform": "whole_platform", "two_workers": "whole_platform",
}  # fmt: skip
"""The module of each; one that isn't asked for isn't imported, as it may need what isn't there."""


def main() -> None:
    """Measure what the command line names."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in ROWS:
        sys.exit(f"there is no row {name!r}; there are {', '.join(ROWS)}")
    OUT.mkdir(parents=True, exist_ok=True)
    getattr(import_module(f"bench.engines.gpu.{ROWS[name]}"), name)()


main()
