"""A storm: clients submit while processes are killed, stopped and cut off; what came of it can be asked afterwards."""

import random
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from redis.exceptions import RedisError

from tests.chaos.flock import APIS, WORKERS, Client, Flock
from tests.chaos.recordings import recording
from tests.chaos.sickness import sickness
from tests.platform import eventually


@dataclass(slots=True)
class PlannedJob:
    """What one client asked for, and the ticket that it got."""

    number: int
    audio: bytes
    cancel: bool
    job_id: str = ""
    canceled: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """
    How big, and how rough.

    ``pace_s`` is the mean time between two faults; ``window_s`` what the engine takes for a window: long enough that
    a kill finds spans in work.
    """

    jobs: int
    worker_kills: int
    ledger_kills: int
    stop_s: float
    pace_s: float
    window_s: float
    clients: int = 8
    sick: int = 0
    """How often each of the faults comes that aren't a process's death: see `tests.chaos.sickness`."""


@dataclass(slots=True)
class Storm:
    """Run it once; then look at ``jobs`` and ``deaths`` (worker's name and time of each kill)."""

    flock: Flock
    plan: Plan
    seed: int
    jobs: list[PlannedJob] = field(default_factory=list)
    poisons: list[str] = field(default_factory=list)
    repaired: list[tuple[str, str, bytes]] = field(default_factory=list)
    deaths: list[tuple[str, float]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Submit everything, break everything that the plan names, and return when both are done."""
        dice = random.Random(self.seed)
        self.jobs = [self._plan(number, dice) for number in range(self.plan.jobs)]
        faults = self._faults(dice)
        left = list(self.jobs)
        lock = threading.Lock()

        def client() -> None:
            own = Client(self.flock)
            mean_s = self.plan.pace_s * len(faults) * self.plan.clients / self.plan.jobs
            while True:
                time.sleep(random.expovariate(1 / mean_s))
                with lock:
                    if not left:
                        break
                    planned = left.pop()
                self._ask(own, planned)
            own.close()

        with ThreadPoolExecutor(self.plan.clients) as pool:
            asked = [pool.submit(client) for _ in range(self.plan.clients)]
            for name, fault in faults:
                self.said.append(name)
                fault()
                if self.plan.sick:
                    self.flock.restart_exited()
                time.sleep(dice.expovariate(1 / self.plan.pace_s))
            for one in asked:
                one.result()

    def _plan(self, number: int, dice: random.Random) -> PlannedJob:
        kind = dice.random()
        if kind < 0.2 and number:  # somebody has sent the same recording before
            return PlannedJob(number, recording(dice.randrange(5), 4 + dice.randrange(5)), cancel=False)
        seconds = dice.uniform(200, 400) if kind > 0.95 else dice.uniform(1, 25)
        return PlannedJob(number, recording(1000 + number, seconds), cancel=dice.random() < 0.08)

    def _ask(self, client: Client, planned: PlannedJob) -> None:
        planned.job_id = client.submit(planned.audio, key=f"planned-{planned.number}")
        if planned.cancel:
            # A repeated request may find that the first one, whose answer was lost, has canceled it: 409.
            client.cancel(planned.job_id)
            planned.canceled = client.job(planned.job_id)["status"] == "canceled"

    def _faults(self, dice: random.Random) -> list[tuple[str, Callable[[], None]]]:
        plan = self.plan
        faults = [("kill a worker", lambda: self._kill_worker(dice))] * plan.worker_kills
        faults += [("kill the ledger", self._kill_ledger)] * plan.ledger_kills
        faults += [("stop a worker", lambda: self._stop_worker(dice.choice(WORKERS)))]
        faults += [("kill an API in an upload", lambda: self._kill_in_upload(dice.choice(APIS)))] * 2
        faults += [("lose the hints", self._lose_hints)] * 2
        faults += [("cut the connections", self._cut_connections)] * 2
        faults += [(name, fault) for name, fault in sickness(self, dice) for _ in range(plan.sick)]
        dice.shuffle(faults)
        return faults

    def _kill_worker(self, dice: random.Random) -> None:
        """A busy one, if any is."""
        deadline = time.monotonic() + 3
        while not (busy := self._busy()) and time.monotonic() < deadline:
            time.sleep(0.05)
        name = dice.choice(busy or WORKERS)
        self.deaths.append((f"{name}@", self.flock.kill(name)))
        self.flock.start(name)

    def _busy(self) -> list[str]:
        try:
            with self.flock.redis() as redis:
                held = {key.removeprefix("murmur:held:").split("@")[0] for key in redis.scan_iter("murmur:held:*")}
        except RedisError:
            return []
        return sorted(held)

    def _kill_ledger(self) -> None:
        self.flock.kill("ledger")
        time.sleep(0.5)  # fine: how long the ledger is away
        self.flock.start("ledger")

    def _stop_worker(self, name: str) -> None:
        """For longer than a lease: when it goes on, everything it held is somebody else's."""
        self.flock.signal(name, signal.SIGSTOP)
        time.sleep(self.plan.stop_s)
        self.flock.signal(name, signal.SIGCONT)

    def _kill_in_upload(self, name: str) -> None:
        eventually(lambda: self.flock.live(name), 60)  # it may have been killed a moment ago
        with socket.create_connection(("127.0.0.1", self.flock.ports[name]), timeout=5) as wire:
            head = "POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: audio/wav\r\n"
            head += "Content-Length: 5000000\r\n\r\n"
            wire.sendall(head.encode() + b"RIFF" + bytes(2_000_000))
            time.sleep(0.2)  # fine: the kill comes somewhere in the upload
            self.flock.kill(name)
        self.flock.start(name)

    def _lose_hints(self) -> None:
        self._at_ledger(lambda: self.flock.redis().delete("murmur.demo"))

    def _cut_connections(self) -> None:
        self._at_ledger(lambda: self.flock.redis().execute_command("CLIENT", "KILL", "TYPE", "normal"))

    @staticmethod
    def _at_ledger(deed: Callable[[], object]) -> None:
        try:
            deed()
        except RedisError:
            return
