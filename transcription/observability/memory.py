"""Memory in use: of this container where it has a limit of its own, else of the machine."""

from dataclasses import dataclass
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup")
_V1 = Path("memory")


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes that there are, and bytes that can't be given back at once."""

    total: int
    used: int


def memory(cgroup: Path = _CGROUP) -> Memory:
    """
    What this process may use and what is used of it.

    Args:
        cgroup: Where the control group's files are, of version 2 or 1.
    """
    machine = psutil.virtual_memory()
    limit, used = _limit(cgroup), _used(cgroup)
    if limit is None or used is None or limit >= machine.total:
        return Memory(machine.total, machine.total - machine.available)
    return Memory(limit, used)


def used_percent() -> float:
    """Memory in use, in percent of what there is."""
    found = memory()
    return 100 * found.used / found.total


def _limit(cgroup: Path) -> int | None:
    return _number(cgroup / "memory.max", cgroup / _V1 / "memory.limit_in_bytes")


def _used(cgroup: Path) -> int | None:
    used = _number(cgroup / "memory.current", cgroup / _V1 / "memory.usage_in_bytes")
    # Pages of files go when memory is short: decoded sound is written and read once, and counts for nothing.
    return None if used is None else max(0, used - _files(cgroup))


def _files(cgroup: Path) -> int:
    for path in (cgroup / "memory.stat", cgroup / _V1 / "memory.stat"):
        try:
            rows = dict(line.split(" ", 1) for line in path.read_text("utf-8").splitlines())
            names = ("inactive_file", "active_file")
            return sum(int(rows.get(f"total_{name}") or rows.get(name) or 0) for name in names)
        except (OSError, ValueError):
            continue
    return 0


def _number(*paths: Path) -> int | None:
    for path in paths:
        try:
            return int(path.read_text("utf-8"))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return None
