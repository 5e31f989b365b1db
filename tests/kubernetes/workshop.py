"""Workers, spans and a day of recordings for them, in steps of the scrape interval."""

import math
import random
from collections import deque
from dataclasses import dataclass, field

STEP_S = 15
SPAN_S = 300
START_S = 60
SLOTS = 2


@dataclass
class Pod:
    """A worker: what it holds in audio-seconds for each span, and whether it was told to go."""

    ready_at: float
    speed: float
    held: list[float] = field(default_factory=list)
    measured: bool = False
    told_at: float | None = None


@dataclass
class Workshop:
    """The worst deployment controller that there may be: it takes the busiest pods away first."""

    drain_s: float
    rng: random.Random
    pods: list[Pod] = field(default_factory=list)
    queue: deque[float] = field(default_factory=deque)
    handed_back: int = 0
    drained_busy: int = 0

    def arrive(self, audio_s: int) -> None:
        whole, rest = divmod(audio_s, SPAN_S)
        self.queue.extend([float(SPAN_S)] * whole + ([float(rest)] if rest else []))

    @property
    def serving(self) -> list[Pod]:
        """The pods that the deployment counts."""
        return [pod for pod in self.pods if pod.told_at is None]

    def scale(self, at: float, replicas: int) -> None:
        ours = sorted(self.serving, key=lambda pod: (-sum(pod.held), -pod.ready_at))
        for _ in range(replicas - len(ours)):
            # Twentieths of eighths: sums of such numbers are exact.
            self.pods.append(Pod(at + START_S, self.rng.choice([18.0, 19.0, 20.0, 21.0, 22.0])))
        for pod in ours[: max(0, len(ours) - replicas)]:
            pod.told_at = at
            self.drained_busy += bool(pod.held)

    def step(self, at: float) -> None:
        """Let everybody work for one step; who was told to go claims nothing and goes when it holds nothing."""
        for pod in list(self.pods):
            if pod.told_at is not None and pod.held and at - pod.told_at > self.drain_s:
                self.handed_back += len(pod.held)
                self.queue.extendleft(pod.held)
                pod.held = []
            if pod.told_at is not None and not pod.held:
                self.pods.remove(pod)
                continue
            if at >= pod.ready_at:
                self._work(pod)

    def _work(self, pod: Pod) -> None:
        power = pod.speed * STEP_S
        while power > 0:
            while pod.told_at is None and len(pod.held) < SLOTS and self.queue:
                pod.held.append(self.queue.popleft())
            if not pod.held:
                return
            done = min(power, pod.held[0])
            pod.held[0] -= done
            power -= done
            if pod.held[0] == 0:
                pod.held.pop(0)
                pod.measured = True

    def figures(self, at: float) -> dict[str, float]:
        """What the platform's metrics say; a speed only where one was measured."""
        alive = [pod for pod in self.pods if at >= pod.ready_at]
        speeds = [pod.speed for pod in alive if pod.measured]
        told = {
            "murmur_queue_audio_seconds": sum(self.queue),
            "murmur_running_audio_seconds": sum(sum(pod.held) for pod in self.pods),
            "murmur_workers_busy": float(sum(bool(pod.held) and pod.told_at is None for pod in alive)),
        }
        if speeds:
            told["murmur_worker_speed_audio_seconds_per_second"] = sum(speeds) / len(speeds)
        return told


def arrivals(at: float, rng: random.Random) -> int:
    """Audio-seconds in one step: nearly nothing at night, twelve workers' fill at noon, and an archive at 14:00."""
    hour = at / 3600
    busy = max(0.0, math.sin((hour - 7) / 12 * math.pi)) if 7 <= hour <= 19 else 0.0
    rate = 0.4 + 240 * busy
    count = rng.gauss(rate * STEP_S, rate * STEP_S * 0.5)
    archive = 300 * 3600 if at == 14 * 3600 else 0
    return max(0, round(count)) + archive
