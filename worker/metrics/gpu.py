"""NVIDIA's GPUs, as their own tool sees them; nothing where it isn't installed."""

import shutil
import subprocess
from dataclasses import dataclass

QUERY = "index,memory.used,memory.total,utilization.gpu"
TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU: memory in bytes, and the share of time in which it computed, in [0, 1]."""

    index: str
    used_bytes: int
    total_bytes: int
    utilisation: float


def gpus() -> list[Gpu]:
    """The machine's GPUs; none when they can't be asked."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        answer = subprocess.run(  # noqa: S603  a constant command
            [tool, f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return parse(answer.stdout)


def parse(text: str) -> list[Gpu]:
    """Read the tool's lines; a figure that a GPU doesn't have («[N/A]») is 0."""
    rows = [[part.strip() for part in line.split(",")] for line in text.splitlines() if line.strip()]
    return [
        Gpu(index, _number(used) << 20, _number(total) << 20, _number(busy) / 100)
        for index, used, total, busy in (row for row in rows if len(row) == 4)
    ]


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0
