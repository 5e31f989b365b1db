"""Kubernetes' HorizontalPodAutoscaler and KEDA's fallback as they are documented, on a clock of their own."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

SYNC_S = 15
TOLERANCE = 0.1


@dataclass
class Trigger:
    """One of KEDA's: what its query gave, None for nothing, becomes a metric of the autoscaler's, None for an error."""

    threshold: float
    fallback: dict[str, Any]
    failures: int = 0

    def metric(self, value: float | None, replicas: int) -> float | None:
        """
        The sum that the autoscaler divides by ``threshold``.

        With ``ignoreNullValues: "false"`` an empty answer is an error; after more than ``failureThreshold`` of them in
        a row the fallback speaks.
        """
        if value is not None:
            self.failures = 0
            return value
        self.failures += 1
        if self.failures <= self.fallback["failureThreshold"]:
            return None
        assert self.fallback["behavior"] == "currentReplicasIfHigher"
        return self.threshold * max(replicas, self.fallback["replicas"])


@dataclass
class Autoscaler:
    """Metrics with AverageValue targets, a ``behavior`` and limits; one call is one round of the controller."""

    behavior: dict[str, Any]
    least: int
    most: int
    _wanted: deque[tuple[float, int]] = field(default_factory=deque)
    _changes: deque[tuple[float, int]] = field(default_factory=deque)

    def replicas(self, at: float, current: int, metrics: Sequence[tuple[float | None, float]]) -> int:
        """How many there shall be now; *metrics* are values, None where one can't be had, and their targets."""
        wanted = [self._by(value, target, current) for value, target in metrics if value is not None]
        if not wanted or (len(wanted) < len(metrics) and max(wanted) < current):
            wanted = [current]  # some metric is missing: nothing is taken away, and without any nothing is done
        stable = self._stabilized(at, max(self.least, min(self.most, max(wanted))), current)
        allowed = self._paced(at, stable, current)
        if allowed != current:
            self._changes.append((at, allowed - current))
        return allowed

    @staticmethod
    def _by(value: float, target: float, current: int) -> int:
        if abs(1 - value / (target * current)) <= TOLERANCE:
            return current
        return math.ceil(value / target)

    def _stabilized(self, at: float, wanted: int, current: int) -> int:
        self._wanted.append((at, wanted))
        down, up = (self.behavior[way]["stabilizationWindowSeconds"] for way in ("scaleDown", "scaleUp"))
        while self._wanted[0][0] < at - max(down, up):
            self._wanted.popleft()
        highest = max(count for when, count in self._wanted if when >= at - down)
        lowest = min(count for when, count in self._wanted if when >= at - up)
        return max(min(current, highest), lowest) if wanted < current else max(current, lowest)

    def _paced(self, at: float, wanted: int, current: int) -> int:
        limits = []
        up = wanted > current
        for policy in self.behavior["scaleUp" if up else "scaleDown"]["policies"]:
            since = [by for when, by in self._changes if when > at - policy["periodSeconds"]]
            before = current - sum(by for by in since if (by > 0) == up)
            share = before * policy["value"] / 100 if policy["type"] == "Percent" else policy["value"]
            limits.append(math.ceil(before + share) if up else math.floor(before - share))
        return min(wanted, max(limits)) if up else max(wanted, min(limits))
