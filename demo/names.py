"""What the demo model is called: cheap to import, for those who ask for its name and not for its weights."""

from typing import Literal

REVISION = "a8b2f667bb8b"
"""The first 12 hexadecimal digits of the SHA-256 of `weights.npz`."""

Size = Literal["tiny", "base", "small", "medium", "large", "turbo"]
