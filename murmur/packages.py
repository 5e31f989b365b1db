"""
Where the platform's packages are.

A checkout has them at its top. A wheel brings them inside this package, so that nothing called `api`, `worker`, `demo`
or `transcription` comes into an environment where somebody else's may be; the command line, and what it starts, find
them first.
"""

import os
import sys
from pathlib import Path

_INSIDE = Path(__file__).resolve().parent / "_platform"
ROOT = _INSIDE if _INSIDE.is_dir() else Path(__file__).resolve().parents[1]


def enable() -> None:
    """Put the wheel's packages first on the import path of this process and of those that it starts."""
    if ROOT != _INSIDE or str(ROOT) in sys.path:
        return
    sys.path.insert(0, str(ROOT))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    # Not even a directory in which somebody's transcription.py lies comes before them.
    os.environ["PYTHONSAFEPATH"] = "1"
