"""Leases: the spans that this process holds, renewed while there is progress."""

import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from transcription.computation import Claim
from transcription.errors import LeaseLost, LedgerUnavailable, NameTaken, Stopped
from transcription.ports import SpanStore, WorkerInfo
from transcription.settings import Lease
from worker import health_check
from worker.batcher import ModelCall
from worker.host_heartbeat import HostHeartbeat

log = structlog.get_logger()

EXIT_HUNG = 70
EXIT_NAME_TAKEN = 73
EXIT_FAULT = 72


@dataclass(slots=True, eq=False)
class Held:
    """
    A claimed span in this process.

    ``progressed_at`` is the last sign of progress (monotonic seconds). While ``in_engine``, ``progress`` tells how far
    its own windows are; while they wait for their turn (None), every step of the engine is a sign.
    """

    claim: Claim
    progressed_at: float = field(default_factory=time.monotonic)
    claimed_at: float = field(default_factory=time.monotonic)
    in_engine: bool = False
    progress: Callable[[], int | None] = lambda: None
    seen: int | None = None
    lost: bool = False
    unwanted: bool = False
    handed_back: bool = False

    def touch(self) -> None:
        """Say that there is progress."""
        self.progressed_at = time.monotonic()

    @property
    def over(self) -> bool:
        """Whether going on makes no sense."""
        return self.lost or self.unwanted or self.handed_back

    def check(self) -> None:
        """Raise LeaseLost or Stopped when going on makes no sense."""
        if self.lost:
            raise LeaseLost(f"span {self.claim.name} is another worker's now")
        if self.over:
            raise Stopped(f"span {self.claim.name} was handed back or isn't wanted any more")


class Leases(threading.Thread):
    """
    Renews what is held, says in the ledger and in the heartbeat file that the worker lives, and hears of cancels.

    A span without progress for ``stall_s`` isn't renewed. If it goes on standing still, the process says so, hands back
    what else it holds and exits: a call into a model can't be stopped in any other way. So it does when a call into the
    model doesn't come back, or a thread of a span that nobody wants any more: what hangs there would keep its place. So
    it does at once when a call has found its device lost, which only a new process can use again.
    """

    def __init__(
        self,
        spans: SpanStore,
        settings: Lease,
        *,
        steps: Callable[[], int],
        calls: Callable[[], Sequence[ModelCall]] = tuple,
        info: Callable[[int], WorkerInfo],
        host: HostHeartbeat | None = None,
    ) -> None:
        super().__init__(name="leases", daemon=True)
        self._spans = spans
        self._settings = settings
        self._steps = steps
        self._calls = calls
        self._info = info
        self._host = host
        self._register = host.beat if host else spans.register
        self._held: dict[int, Held] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._draining = False
        self._registered = False
        self._first_refused = 0.0
        self._seen_steps = -1

    def add(self, claim: Claim) -> Held:
        """Take care of *claim* from now on."""
        held = Held(claim)
        with self._lock:
            self._held[claim.token] = held
            if self._stopping:
                held.handed_back = True
        if held.handed_back:
            self._spans.release(claim)
        return held

    def remove(self, held: Held) -> None:
        """The span is finished, failed or given up."""
        with self._lock:
            self._held.pop(held.claim.token, None)

    def holding(self) -> list[Held]:
        """What is held now."""
        with self._lock:
            return list(self._held.values())

    @property
    def open(self) -> bool:
        """
        Whether the worker may claim: the ledger knows this process, and it wasn't told to stop or to finish.

        A process that claimed before it was known would lose the span again: a new process under an old name takes
        away what the old one held.
        """
        return self._registered and not self._stopping and not self._draining

    @property
    def draining(self) -> bool:
        """Whether the worker finishes what it holds and claims nothing more."""
        return self._draining

    def drain(self) -> None:
        """Claim nothing more, and have the ledger told so, soon; safe to be called from a signal handler."""
        self._draining = True
        self._wake.set()

    def drained(self, within_s: float) -> bool:
        """Wait until nothing is held any more, or for *within_s*, or until told to stop; whether nothing is."""
        ends = time.monotonic() + within_s
        while self.holding() and not self._stopping and time.monotonic() < ends:
            time.sleep(min(0.1, self._settings.poll_s))
        return not self.holding()

    def stop(self) -> None:
        """Hand everything back, soon; safe to be called from a signal handler."""
        self._stopping = True
        self._wake.set()

    def run(self) -> None:
        """Renew until told to stop, then hand back."""
        registered, told = -math.inf, False
        while not self._stopping:
            self._beat()
            try:
                draining = self._draining
                if draining != told or time.monotonic() - registered >= self._settings.renew_s:
                    self._register(self._info(0))
                    registered, told = time.monotonic(), draining
                    self._registered, self._first_refused = True, 0.0
                self._renew()
            except NameTaken as error:
                self._refused(error)
            except LedgerUnavailable as error:
                log.warning("ledger unavailable", error=error.message)
                for held in self.holding():
                    held.touch()  # who waits for the ledger doesn't hang
            except Exception:
                # A worker whose leases nobody renews would only claim and lose: it ends, and is started again.
                log.exception("the leases can't be renewed; the process exits")
                with suppress(Exception):
                    self.hand_back()
                os._exit(EXIT_FAULT)
            if self._wake.wait(self._settings.poll_s) and not self._stopping:
                self._wake.clear()
        self.hand_back()

    def _beat(self) -> None:
        info = self._info(0)
        try:
            health_check.beat(info.id, quarantine=info.quarantine)
        except OSError as error:
            log.warning("the heartbeat can't be written", error=str(error))

    def _refused(self, error: NameTaken) -> None:
        """Wait for the other worker to fall silent, as a dead one does, and end if it doesn't."""
        log.error("two workers have one name; give each its own (celery worker -n NAME)", error=error.message)
        self._first_refused = self._first_refused or time.monotonic()
        if error.for_good or time.monotonic() - self._first_refused > 6 * self._settings.renew_s:
            # Nothing is handed back: what is held under this name is the other one's.
            os._exit(EXIT_NAME_TAKEN)

    def hand_back(self) -> None:
        """Release every span, so that others can claim them at once."""
        with self._lock:
            self._stopping = True
            held = list(self._held.values())
        for one in held:
            if not one.over:
                one.handed_back = True
                self._try(lambda one=one: self._spans.release(one.claim))  # type: ignore[misc]
        self._try(lambda: self._spans.depart(self._info(0)))
        if not self._first_refused:  # else they are another's who has the name
            health_check.end(self._info(0).id)
            if self._host:
                self._host.end(self._info(0).id)
        if held:
            log.info("handed back", spans=[one.claim.name for one in held])

    def _renew(self) -> None:
        now, held = time.monotonic(), self.holding()
        steps = self._steps()
        stepped, self._seen_steps = steps != self._seen_steps, steps
        for one in held:
            if not one.in_engine:
                continue
            own = one.progress()
            if own != one.seen or (own is None and stepped):
                one.touch()
            one.seen = own
        stalled = [one for one in held if now - one.progressed_at > self._settings.stall_s]
        limit_s = self._settings.stall_s + self._settings.ttl_s / 2
        hung = [call for call in self._calls() if call.lost or now - call.since > limit_s]
        if hung or any(now - one.progressed_at > limit_s for one in stalled):
            owners = {owner for call in hung for owner in call.owners}
            charged = [one for one in held if not one.over and (one in stalled or one.claim.computation in owners)]
            self._exit(charged, lost=next((call.lost for call in hung if call.lost), ""))
        moving = [one for one in held if one not in stalled and not one.over]
        found = self._spans.renew([one.claim for one in moving])
        for one in moving:
            hold = found[one.claim.token]
            one.unwanted = not hold.wanted
            one.lost = not hold.held and hold.wanted

    def _exit(self, stalled: list[Held], *, lost: str) -> None:
        spans = [one.claim.name for one in stalled]
        if lost:
            log.error("the device is lost; the process exits", spans=spans, error=lost)
        else:
            log.error("hung; the process exits", spans=spans)
        # Before their leases are over, which would put the blame on all that this process holds.
        self._try(lambda: self._spans.hung(self._info(0).id, [one.claim for one in stalled]))
        for one in stalled:
            self.remove(one)
        self.hand_back()
        os._exit(EXIT_HUNG)

    @staticmethod
    def _try(action: Callable[[], object]) -> None:
        try:
            action()
        except LedgerUnavailable as error:
            log.warning("ledger unavailable; the lease will run out instead", error=error.message)
