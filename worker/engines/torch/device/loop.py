"""The one thread that gives the device its work: batches in between, and a step of all rows after another."""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from functools import partial
from traceback import clear_frames
from typing import Any, TypeVar

import structlog
import torch
from torch import Tensor

from transcription.errors import Stopped
from worker.engines.torch.asked import Asked
from worker.engines.torch.device.captured import filled, fitting
from worker.engines.torch.device.graphs import Steps
from worker.engines.torch.device.slots import FILLED, LENGTHS, Slots, Written

Made = TypeVar("Made")
Encode = Callable[[Sequence[Any]], Sequence[Tensor]]
MakeSlots = Callable[[int, int], Slots]
"""Makes slots of so many beams: one in so many of those that there seems to be memory for, but one at least."""

ROWS = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128)
BEAMS = (1, 5, 10)
PARTS = (1, 1, 2, 4, 8, 16, 32, 64)
"""Of the slots that there seems to be memory for; the second time idle ones are gone."""

FULL, PATIENCE = 0.9, 6
"""While so much of the slots is taken, windows that are too few for a batch wait so many steps for others."""

log = structlog.get_logger("worker.torch")


@dataclass(eq=False, slots=True)
class _Row:
    sound: Tensor
    asked: Asked
    future: "Future[Callable[[], Written]]" = field(default_factory=Future)
    position: int = 0
    """Never less than the position on the device, which isn't asked."""

    @property
    def beams(self) -> int:
        return next(beams for beams in BEAMS if beams >= self.asked.width)


class _Group:
    """The slots of one number of beams, and who is in them."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.rows: list[_Row | None] = [None] * slots.count
        self._steps = Steps(slots)
        self.figures: Counter[str] = Counter()

    @property
    def waited_s(self) -> float:
        return self._steps.waited_s

    @property
    def active(self) -> list[int]:
        return [number for number, row in enumerate(self.rows) if row]

    @property
    def room(self) -> int:
        return self.rows.count(None)

    def place(self, rows: Sequence[_Row]) -> None:
        """Let *rows* in, no more than there is room for."""
        if not rows:
            return
        free = [number for number, row in enumerate(self.rows) if row is None][: len(rows)]
        for number, row in zip(free, rows, strict=True):
            self.rows[number] = row
            row.position = row.asked.begins
        self._steps.placed(free)
        self.slots.place(free, [row.sound for row in rows], [row.asked for row in rows])

    def step(self) -> None:
        """Take everybody one token further."""
        active = self.active
        if len(active) <= fitting(ROWS, active[-1] + 1) // 2:
            active = self._close_ranks(active)
        rows = [row for number in active if (row := self.rows[number])]
        count = min(fitting(ROWS, active[-1] + 1), self.slots.count)
        length = fitting(LENGTHS, max(row.position for row in rows) + 1)
        self.figures.update(steps=1, rows=len(rows), looked_at=count)
        self._steps.run(count, length, drawing=any(row.asked.temperature > 0 for row in rows))
        for row in rows:
            row.position += 1

    def _close_ranks(self, active: list[int]) -> list[int]:
        """Move rows from the last slots into free ones before them, so that a step has fewer to look at."""
        targets = [number for number in range(len(active)) if self.rows[number] is None]
        sources = active[len(active) - len(targets) :]
        self.slots.move(sources, targets)
        for source, target in zip(sources, targets, strict=True):
            self.rows[target], self.rows[source] = self.rows[source], None
        self._steps.placed(targets)
        return self.active

    def collect(self) -> list[tuple[_Row, Callable[[], Written]]]:
        """Free the slots of rows that have ended; what they wrote is read when it is asked for."""
        ended = [number for number in self._steps.ended() if self.rows[number]]
        if not ended:
            return []
        read = self._steps.read()
        found: list[tuple[_Row, Callable[[], Written]]] = []
        for number in ended:
            row = self.rows[number]
            assert row is not None  # noqa: S101
            self.rows[number] = None
            found.append((row, partial(read, number)))
        return found


class Loop:
    """
    Rows leave when they end, and others take their place, whoever's they are; between two steps the device encodes or
    aligns a batch. So one long text keeps nobody waiting.
    """

    def __init__(self, make_slots: MakeSlots, encode: Encode, *, stream: Callable[[], Any], crowd: int) -> None:
        """
        Start the thread.

        Args:
            make_slots: Called when the first row of so many beams comes.
            encode: Encodes a few windows, whoever's they are.
            stream: A context that the thread works in.
            crowd: Rows waiting for slots at which nothing more is encoded.
        """
        self._make_slots, self._encode, self._stream, self._crowd = make_slots, encode, stream, crowd
        self._groups: dict[int, _Group] = {}
        self._waiting: dict[int, deque[_Row]] = {beams: deque() for beams in BEAMS}
        self._calls: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._sounds: deque[tuple[Any, Future[Tensor]]] = deque()
        self._changed = threading.Condition()
        self._closed, self._idle_s = False, 0.0
        self._at_once, self._put_off = FILLED[-1], 0
        self._thread = threading.Thread(target=self._work, name="torch", daemon=True)
        self._thread.start()

    def call(self, work: Callable[[], Made]) -> Made:
        """Do *work* between two steps, and wait for it."""
        future: Future[Made] = Future()
        with self._changed:
            if self._closed:
                raise _stopped()
            self._calls.append((work, future))
            self._changed.notify()
        return future.result()

    def encode(self, sounds: Sequence[Any]) -> list[Tensor]:
        """Have windows encoded, together with others', when there are few that wait for slots."""
        futures: list[Future[Tensor]] = [Future() for _ in sounds]
        with self._changed:
            if self._closed:
                raise _stopped()
            self._sounds += zip(sounds, futures, strict=True)
            self._changed.notify()
        return [future.result() for future in futures]

    def write(self, sounds: Sequence[Tensor], asked: Sequence[Asked]) -> "list[Future[Callable[[], Written]]]":
        """Have windows, whose sounds have shape (1, 1500, width), written down; each is read by calling what comes."""
        rows = [_Row(sound, what) for sound, what in zip(sounds, asked, strict=True)]
        with self._changed:
            if self._closed:
                raise _stopped()
            for row in rows:
                self._waiting[row.beams].append(row)
            self._changed.notify()
        return [row.future for row in rows]

    def figures(self) -> dict[int, dict[str, float]]:
        """
        For each number of beams: steps so far, rows in them, slots looked at, and seconds that the thread waited for
        the device; and, of all together, for work.
        """
        return {
            beams: {**group.figures, "waited_s": group.waited_s, "idle_s": self._idle_s}
            for beams, group in self._groups.items()
        }

    def close(self) -> None:
        """End the thread; who waits gets Stopped."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        with torch.inference_mode(), self._stream():
            while self._next():
                for beams in BEAMS:
                    try:
                        self._step(beams)
                    except Exception as error:  # noqa: BLE001  it's the rows', and the thread must live on
                        self._fail(beams, error)
        left = [row for waiting in self._waiting.values() for row in waiting]
        left += [row for group in self._groups.values() for row in group.rows if row]
        for future in [*(row.future for row in left), *(future for _, future in (*self._calls, *self._sounds))]:
            _settle(future, error=_stopped())
        self._groups.clear()

    def _next(self) -> bool:
        """Do the calls that there are, and encode a batch; wait while there is nothing to do. False: closed."""
        with self._changed:
            start = time.perf_counter()
            while not self._closed and not self._calls and not self._sounds and not self._busy():
                self._changed.wait()
            self._idle_s += time.perf_counter() - start
            if self._closed:
                return False
            calls = [*self._calls]
            self._calls.clear()
            sounds = []
            if self._sounds and sum(map(len, self._waiting.values())) < self._crowd and self._is_due():
                sounds = [self._sounds.popleft() for _ in range(filled(FILLED, min(len(self._sounds), self._at_once)))]
        for work, future in calls:
            try:
                _settle(future, work())
            except BaseException as error:  # noqa: BLE001  it's the caller's
                _let_go(error)
                _settle(future, error=error)
        if sounds:
            self._encode_all(sounds)
        return True

    def _is_due(self) -> bool:
        """Whether to encode what there is: a few windows cost the device more each than many do together."""
        few = len(self._sounds) < self._at_once
        full = any(
            len(group.active) + len(self._waiting[beams]) >= FULL * group.slots.count
            for beams, group in self._groups.items()
        )
        self._put_off = self._put_off + 1 if few and full and self._put_off < PATIENCE else 0
        return not self._put_off

    def _encode_all(self, sounds: "Sequence[tuple[Any, Future[Tensor]]]") -> None:
        try:
            made = self._encode([sound for sound, _ in sounds])
        except BaseException as error:  # noqa: BLE001  the batcher tries them again, fewer together
            _let_go(error)
            if isinstance(error, torch.OutOfMemoryError) and self._try_again(sounds):
                return
            for _, future in sounds:
                _settle(future, error=error)
            return
        for (_, future), encoding in zip(sounds, made, strict=True):
            _settle(future, encoding)

    def _try_again(self, sounds: "Sequence[tuple[Any, Future[Tensor]]]") -> bool:
        """Have *sounds*, for which there was no memory, encoded next, fewer together from now on; False: in vain."""
        gone = self._make_room()
        if len(sounds) == 1 and not gone:
            return False
        self._at_once = max(1, len(sounds) // 2)
        log.warning("no memory to encode so many together", windows=len(sounds), from_now_on=self._at_once)
        with self._changed:
            self._sounds.extendleft(reversed(sounds))
        return True

    def _make_room(self) -> bool:
        """Let go slots that nobody is in, and the memory that torch keeps; whether there were any."""
        before = len(self._groups)
        self._groups = {beams: group for beams, group in self._groups.items() if group.active}
        torch.cuda.empty_cache()
        return len(self._groups) < before

    def _busy(self) -> bool:
        return any(self._waiting.values()) or any(group.active for group in self._groups.values())

    def _step(self, beams: int) -> None:
        group = self._groups.get(beams)
        if group is None:
            if not self._waiting[beams]:
                return
            group = self._groups[beams] = _Group(self._slots_of(beams))
        with self._changed:
            fresh = [self._waiting[beams].popleft() for _ in range(min(len(self._waiting[beams]), group.room))]
        group.place(fresh)
        if group.active:
            group.step()
        for row, read in group.collect():
            _settle(row.future, read)

    def _slots_of(self, beams: int) -> Slots:
        """Slots of so many beams: without memory for them in the place of those that nobody is in, and then fewer."""
        for part in PARTS[:-1]:
            try:
                return self._make_slots(beams, part)
            except torch.OutOfMemoryError as error:
                _let_go(error)
            self._make_room()  # not before the error, which holds what was taken in vain, is over
        return self._make_slots(beams, PARTS[-1])

    def _fail(self, beams: int, error: Exception) -> None:
        group = self._groups.pop(beams, None)
        _let_go(error)
        rows = [row for row in group.rows if row] if group else []
        with self._changed:
            if group is None:  # there was no room for any
                rows += self._waiting[beams]
                self._waiting[beams].clear()
        for row in rows:
            _settle(row.future, error=error)


def _let_go(error: BaseException | None) -> None:
    """
    Empty the frames of *error*, which would hold what failed, slots for example, for as long as anybody has the error;
    and memory of the host would be let go in that one's thread: see `worker.engines.torch.device.host`.
    """
    while error:
        clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _settle(future: "Future[Any]", value: Any = None, error: BaseException | None = None) -> None:
    try:
        future.set_result(value) if error is None else future.set_exception(error)
    except InvalidStateError:
        return


def _stopped() -> Stopped:
    return Stopped("the engine was closed")
