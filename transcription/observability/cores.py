"""Cores: how many this process may really use."""

import os
from pathlib import Path


def available(root: Path = Path("/"), *, sharers: int = 1) -> int:
    """
    Count the cores that this process may use: the machine's, its affinity's, its control group's quota's least.

    Args:
        root: Where `proc` and `sys` lie; tests have their own.
        sharers: Processes of this kind that divide the machine's cores among them; a quota is each one's own.
    """
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS has neither affinity nor control groups
        return max(1, (os.cpu_count() or 1) // sharers)
    quota = _quota(root)
    return max(1, min(cores, int(quota)) if quota else cores // sharers)


def _quota(root: Path) -> float | None:
    """The least quota of this process's control group and those above it, in cores; None: unlimited."""
    quotas = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, inner = line.split(":", 2)
        below = Path(inner.lstrip("/"))
        if controllers == "":
            found = [_v2(root / "sys/fs/cgroup" / part) for part in (below, *below.parents)]
        elif "cpu" in controllers.split(","):
            base = root / "sys/fs/cgroup" / controllers
            base = base if base.exists() else root / "sys/fs/cgroup/cpu"
            found = [_v1(base / part) for part in (below, *below.parents)]
        else:
            found = []
        quotas += [quota for quota in found if quota]
    return min(quotas, default=None)


def _v2(group: Path) -> float | None:
    quota, _, period = _read(group / "cpu.max").strip().partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _v1(group: Path) -> float | None:
    quota, period = (_read(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except OSError:
        return ""
