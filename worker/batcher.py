"""The batcher: puts the rows of all jobs in a process together, so that the model works on many at once."""

import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from transcription.errors import EngineFailed, ModelUnavailable, Stopped
from worker.metrics import counters

Row = TypeVar("Row")
Row_contra = TypeVar("Row_contra", contravariant=True)

PATIENCE = 2
FEW = 2
"""Rows for each thread: an owner with more can keep them all busy, one with fewer may be light beside it."""

POLL_INTERVAL_S = 0.2
"""How often a thread that waits for room looks whether its job is still wanted."""


class OutOfMemory(EngineFailed):
    """The device has no room for a batch of this size: the batcher makes smaller ones before anybody hears of it."""


class DeviceLost(EngineFailed):
    """The device computes nothing more for this process: the leases end it before anybody hears of it."""


class Key(NamedTuple):
    """What rows of a batch have in common: how far they are, and whatever else their computation needs alike."""

    stage: int
    shared: Hashable = None


class ModelCall(NamedTuple):
    """
    A thread's call into the model that hasn't come back: since when (monotonic seconds), and whose rows it has.

    ``lost``: why its device will never answer it; empty while it may.
    """

    since: float
    owners: frozenset[str]
    lost: str = ""


class Executor(Protocol[Row_contra]):
    """
    The model behind a batcher. Several threads call it at once.

    ``splits`` says whether idle threads should share a batch (a CPU's cores) or leave it whole (a GPU), and whether one
    call more than there are threads makes sense, as cores share their time.
    """

    splits: bool

    def limit(self, stage: int) -> int:
        """Rows to compute together in *stage*."""

    def compute(self, key: Key, rows: Sequence[Row_contra]) -> Sequence[Key | None]:
        """
        Take *rows* one stage further; where each of them goes next, None: it's finished.

        An error must leave the rows as they were: they are tried again, fewer together or one by one.
        """


@dataclass(slots=True, eq=False)
class _Entry(Generic[Row]):
    row: Row
    owner: str
    cancelled: Callable[[], bool]
    future: "Future[Row]"
    light: bool
    since: int = 0

    @property
    def unwanted(self) -> bool:
        return self.future.cancelled() or self.cancelled()

    def settle(self, error: BaseException | None = None) -> None:
        """Give the row, or an error, to whoever waits for it, if anybody still does."""
        try:
            self.future.set_result(self.row) if error is None else self.future.set_exception(error)
        except InvalidStateError:
            return


class _Group(Generic[Row]):
    """Rows of one key; owners take turns."""

    def __init__(self) -> None:
        self._owners: OrderedDict[str, deque[_Entry[Row]]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._owners.values()))

    def __iter__(self) -> Iterator[_Entry[Row]]:
        return (entry for entries in self._owners.values() for entry in entries)

    @property
    def since(self) -> int:
        """The step at which its oldest row came."""
        return min(entries[0].since for entries in self._owners.values())

    def add(self, entry: _Entry[Row]) -> None:
        self._owners.setdefault(entry.owner, deque()).append(entry)

    def take(self, count: int) -> list[_Entry[Row]]:
        taken: list[_Entry[Row]] = []
        while self._owners and len(taken) < count:
            owner, entries = self._owners.popitem(last=False)
            taken.append(entries.popleft())
            if entries:
                self._owners[owner] = entries
        return taken


class Batcher(Generic[Row]):
    """
    Threads that take batches of rows through an executor's stages.

    - A thread never waits for a batch to fill while there is anything to do. Given the choice it takes what is full
      or has waited for twice as many steps as a batch has rows, the furthest stage first; else the earliest stage,
      because that is what fills the later ones.
    - Owners take turns in every batch, so that a long recording can't keep a short one waiting.
    - Where batches take seconds, turns aren't enough: while one owner has many rows here, the few of another are
      *light*. They keep to themselves, and have a thread of their own that is idle at all other times.
    - An error fails only its own rows: a batch that fails is tried again row by row.
    - A batch for which there is no memory is halved, and that is remembered. Where there is none for a single row, the
      model is unavailable here.
    - A batch that finds the device lost is the last: it stays among the calls that don't come back, until the process
      ends for it.
    """

    def __init__(self, executor: Executor[Row], *, workers: int, capacity: int) -> None:
        """
        Start the threads.

        Args:
            workers: Batches computed at the same time; one more of light rows where the executor `splits`.
            capacity: Rows that may be in work or waiting before `submit` blocks.
        """
        self.steps = 0
        self._executor = executor
        self._workers = workers
        self._capacity = capacity
        self._groups: dict[Key, _Group[Row]] = {}
        self._light: dict[Key, _Group[Row]] = {}
        self._limits: dict[int, int] = {}
        self._inside: dict[str, int] = {}
        self._running = 0
        self._in_work: Counter[str] = Counter()
        self._moved: Counter[str] = Counter()
        self._calls: dict[int, ModelCall] = {}
        self._lost: tuple[ModelCall, ...] = ()
        self._closed = False
        lock = threading.Lock()
        self._filled = threading.Condition(lock)
        self._room = threading.Condition(lock)
        self._threads = [
            threading.Thread(target=self._work, name=f"model-{number}", daemon=True) for number in range(workers)
        ]
        if executor.splits:
            self._threads.append(threading.Thread(target=self._work, args=[True], name="model-light", daemon=True))
        for thread in self._threads:
            thread.start()
        counters.model_workers.inc(workers)

    def submit(self, row: Row, key: Key, *, owner: str, cancelled: Callable[[], bool]) -> "Future[Row]":
        """
        Hand in a row; blocks while the batcher is full, except for an owner who has nothing in it.

        Returns:
            The row once it is finished. Canceling the future takes the row out.

        Raises:
            Stopped: *cancelled* said so, or the batcher was closed, before there was room.
        """
        with self._room:
            while not self._closed and self._inside.get(owner) and sum(self._inside.values()) >= self._capacity:
                self._room.wait(POLL_INTERVAL_S)
                if cancelled():
                    break
            if self._closed or cancelled():
                raise _stopped()
            entry = _Entry(row, owner, cancelled, Future(), light=self._is_light(owner))
            self._inside[owner] = self._inside.get(owner, 0) + 1
            self._put(entry, key)
        return entry.future

    def progress(self, owner: str) -> int | None:
        """How often rows of *owner* have come out of a batch; None while none of them is in one."""
        with self._filled:
            return self._moved.get(owner, 0) if self._in_work.get(owner) else None

    def calls(self) -> tuple[ModelCall, ...]:
        """Each thread's call that hasn't come back yet; one that is old hangs, whatever became of its rows' owners."""
        with self._filled:
            return *self._calls.values(), *self._lost

    def close(self) -> None:
        """Let the batches in work end, and every row that isn't finished by then end with Stopped."""
        with self._filled:
            self._closed = True
            left = [entry for groups in (self._groups, self._light) for group in groups.values() for entry in group]
            self._groups.clear()
            self._light.clear()
            self._filled.notify_all()
            self._room.notify_all()
        for entry in left:
            self._settle(entry, _stopped())
        for thread in self._threads:
            thread.join()
        counters.model_workers.dec(self._workers)

    def _is_light(self, owner: str) -> bool:
        if not self._executor.splits:
            return False
        few = FEW * self._workers
        others = (count for other, count in self._inside.items() if other != owner)
        return self._inside.get(owner, 0) < few < max(others, default=0)

    def _put(self, entry: _Entry[Row], key: Key) -> None:
        entry.since = self.steps
        (self._light if entry.light else self._groups).setdefault(key, _Group()).add(entry)
        if self._executor.splits:
            self._filled.notify_all()
        else:  # one thread takes it, and the others would ask in vain
            self._filled.notify()

    def _work(self, light: bool = False) -> None:
        while (batch := self._next(light)) is not None:
            key, entries = batch
            wanted = [entry for entry in entries if not entry.unwanted]
            for entry in entries:
                if entry not in wanted:
                    self._settle(entry, _stopped())
            if wanted:
                with counters.batch(key.stage, size=len(wanted), room=self._limit(key.stage)):
                    self._compute(key, wanted)
            with self._filled:
                self._running -= 1
                self.steps += 1
                self._come_out(entries)
                if self._executor.splits:  # its core is free for whoever waits, or to share what is left
                    self._filled.notify_all()

    def _next(self, light: bool) -> tuple[Key, list[_Entry[Row]]] | None:
        queues = (self._light,) if light else (self._groups, self._light)
        with self._filled:
            # While light rows are in work, somebody else's core is theirs as soon as it is free.
            while not self._closed and (
                self._lost or not (any(queues) and (light or self._running < max(self._workers, 2)))
            ):
                self._filled.wait()
            if self._closed:
                return None
            groups = next(filter(None, queues))
            key = self._choose(groups)
            group = groups[key]
            count = self._limit(key.stage)
            if self._executor.splits and len(groups) == 1:  # nothing else to do: the idle threads share it
                count = min(count, -(-len(group) // max(1, self._workers - self._running)))
            entries = group.take(count)
            if not group:
                del groups[key]
            self._running += 1
            self._in_work.update(entry.owner for entry in entries)
            return key, entries

    def _come_out(self, entries: Sequence[_Entry[Row]]) -> None:
        for entry in entries:
            self._in_work[entry.owner] -= 1
            self._moved[entry.owner] += 1
            if entry.owner not in self._inside:
                del self._in_work[entry.owner], self._moved[entry.owner]

    def _choose(self, groups: dict[Key, _Group[Row]]) -> Key:
        def ready(key: Key) -> bool:
            limit = self._limit(key.stage)
            return len(groups[key]) >= limit or self.steps - groups[key].since >= PATIENCE * limit

        due = [key for key in groups if ready(key)]
        if due:
            return max(due, key=lambda key: (key.stage, -groups[key].since))
        return min(groups, key=lambda key: (key.stage, groups[key].since))

    def _limit(self, stage: int) -> int:
        return self._limits.setdefault(stage, self._executor.limit(stage))

    def _compute(self, key: Key, entries: list[_Entry[Row]]) -> None:
        try:
            with self._calling(entries):
                following = self._executor.compute(key, [entry.row for entry in entries])
        except OutOfMemory as error:
            self._shrink(key, entries, error)
        except DeviceLost as error:
            call = ModelCall(time.monotonic(), frozenset(entry.owner for entry in entries), error.message)
            with self._filled:
                self._lost = (*self._lost, call)
        except Exception as error:  # noqa: BLE001 - whatever it is, this thread must live on and the others' rows too
            self._isolate(key, entries, error)
        else:
            self._move(entries, following)

    @contextmanager
    def _calling(self, entries: list[_Entry[Row]]) -> Iterator[None]:
        thread = threading.get_ident()
        with self._filled:
            self._calls[thread] = ModelCall(time.monotonic(), frozenset(entry.owner for entry in entries))
        try:
            yield
        finally:
            with self._filled:
                del self._calls[thread]

    def _move(self, entries: Sequence[_Entry[Row]], following: Sequence[Key | None]) -> None:
        for entry, key in zip(entries, following, strict=True):
            if key is None:
                self._settle(entry)
                continue
            with self._filled:
                if not self._closed:
                    self._put(entry, key)
                    continue
            self._settle(entry, _stopped())

    def _shrink(self, key: Key, entries: list[_Entry[Row]], error: OutOfMemory) -> None:
        if len(entries) == 1:
            # Another program has filled the device: it is no fault of the recording, and another worker has room.
            self._settle(entries[0], ModelUnavailable(f"the model has no room for even one window: {error.message}"))
            return
        with self._filled:
            self._limits[key.stage] = max(1, min(self._limit(key.stage), len(entries)) // 2)
        self._move(entries, [key] * len(entries))

    def _isolate(self, key: Key, entries: list[_Entry[Row]], error: Exception) -> None:
        if len(entries) == 1:
            self._settle(entries[0], error)
            return
        for entry in entries:
            if not self._lost:
                self._compute(key, [entry])

    def _settle(self, entry: _Entry[Row], error: BaseException | None = None) -> None:
        entry.settle(error)
        with self._filled:
            left = self._inside[entry.owner] - 1
            if left:
                self._inside[entry.owner] = left
            else:
                del self._inside[entry.owner]
            self._room.notify_all()


def _stopped() -> Stopped:
    return Stopped("the worker stopped, or nobody waits for this any more")
