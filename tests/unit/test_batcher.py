import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transcription.errors import EngineFailed, ModelUnavailable, Stopped
from worker.batcher import Batcher, DeviceLost, Key, OutOfMemory, _Entry

ENCODE, DECODE = Key(0), 1


@dataclass(eq=False)
class Row:
    owner: str
    number: int = 0
    kind: str = "plain"
    again: int = 0
    seen: list[Key] = field(default_factory=list)


@dataclass
class FakeModel:
    """Encodes one by one, decodes up to `batch`; rows go round again as often as they say. The gate holds it up."""

    batch: int = 4
    splits: bool = True
    memory: int = 100
    batches: list[tuple[Key, list[Row]]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    most_at_once: int = 0
    _inside: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def limit(self, stage: int) -> int:
        return 1 if stage == ENCODE.stage else self.batch

    def compute(self, key: Key, rows: Sequence[Row]) -> Sequence[Key | None]:
        with self._lock:
            self.batches.append((key, list(rows)))
            self._inside += 1
            self.most_at_once = max(self.most_at_once, self._inside)
        self.entered.release()
        assert self.gate.wait(30)
        with self._lock:
            self._inside -= 1
        if len(rows) > self.memory:
            raise OutOfMemory("too many")
        if any(row.kind == "poison" for row in rows) and key.stage == DECODE:
            raise ZeroDivisionError("poison")
        if any(row.kind == "fatal" for row in rows) and key.stage == DECODE:
            raise DeviceLost("an illegal memory access")
        return [self._next(key, row) for row in rows]

    def _next(self, key: Key, row: Row) -> Key | None:
        row.seen.append(key)
        if key == ENCODE:
            return Key(DECODE, row.kind)
        if row.again:
            row.again -= 1
            return Key(DECODE, f"{row.kind} again")
        return None

    def decoded(self) -> list[list[Row]]:
        return [rows for key, rows in self.batches if key.stage == DECODE]


@contextmanager
def running(model: FakeModel, *, workers: int = 1, capacity: int = 1000) -> Iterator[Batcher[Row]]:
    batcher: Batcher[Row] = Batcher(model, workers=workers, capacity=capacity)
    try:
        yield batcher
    finally:
        model.gate.set()
        batcher.close()


def wanted() -> bool:
    return False


def submit(batcher: Batcher[Row], row: Row, cancelled: Callable[[], bool] = wanted):  # type: ignore[no-untyped-def]
    return batcher.submit(row, ENCODE, owner=row.owner, cancelled=cancelled)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_rows_of_all_owners_decode_together() -> None:
    model = FakeModel()
    with running(model) as batcher:
        rows = [Row(owner) for owner in "abcdefgh"]
        futures = [submit(batcher, row) for row in rows]
        model.gate.set()
        assert [future.result(10) for future in futures] == rows
    assert [len(batch) for batch in model.decoded()] == [4, 4]


def test_only_rows_of_one_key_decode_together() -> None:
    model = FakeModel()
    with running(model) as batcher:
        futures = [submit(batcher, Row(str(n), kind="odd" if n % 2 else "even")) for n in range(16)]
        model.gate.set()
        for future in futures:
            future.result(10)
    assert all(len({row.kind for row in batch}) == 1 for batch in model.decoded())
    assert max(len(batch) for batch in model.decoded()) == 4


def test_a_lone_row_does_not_wait_for_company() -> None:
    model = FakeModel(batch=32)
    model.gate.set()
    with running(model) as batcher:
        assert submit(batcher, Row("a")).result(10).seen == [ENCODE, Key(DECODE, "plain")]


def test_idle_threads_share_what_there_is() -> None:
    model = FakeModel()
    with running(model, workers=2) as batcher:
        with batcher._filled:  # all four come while both threads are idle
            futures = [Future[Row]() for _ in range(4)]
            for number, future in enumerate(futures):
                batcher._inside["a"] = number + 1
                batcher._put(_Entry(Row("a", number), "a", wanted, future, light=False), Key(DECODE, "plain"))
        assert model.entered.acquire(timeout=10)
        assert model.entered.acquire(timeout=10)
        model.gate.set()
        for future in futures:
            future.result(10)
    assert [len(batch) for batch in model.decoded()] == [2, 2]


def test_a_row_wakes_one_thread_where_batches_arent_shared() -> None:
    model = FakeModel(splits=False)
    woken: list[str] = []
    with running(model, workers=8) as batcher:
        until(lambda: len(batcher._filled._waiters) == 8)  # type: ignore[attr-defined]
        waited = batcher._filled.wait

        def wait() -> None:
            woken.append(threading.current_thread().name)
            waited()

        batcher._filled.wait = wait  # type: ignore[assignment,method-assign]
        model.gate.set()
        for number in range(4):
            submit(batcher, Row(str(number))).result(10)
            until(lambda: len(batcher._filled._waiters) == 8)  # type: ignore[attr-defined]
    assert 4 <= len(woken) <= 8, "a row's two stages are two threads' at most"


def test_owners_take_turns() -> None:
    model = FakeModel(splits=False)
    with running(model) as batcher:
        long = [submit(batcher, Row("long", n)) for n in range(40)]
        assert model.entered.acquire(timeout=10)
        short = submit(batcher, Row("short"))
        model.gate.set()
        short.result(10)
        [future.result(10) for future in long]
    batches = enumerate(model.batches)
    position = next(
        n for n, (key, rows) in batches if key.stage == DECODE and any(row.owner == "short" for row in rows)
    )
    assert position < 12, "forty rows that came before keep a short one waiting"


class Patient(FakeModel):
    """Only the long owner's rows wait for the gate."""

    def compute(self, key: Key, rows: Sequence[Row]) -> Sequence[Key | None]:
        if all(row.owner == "long" for row in rows):
            return super().compute(key, rows)
        assert "long" not in {row.owner for row in rows}
        return [self._next(key, row) for row in rows]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_light_row_overtakes_the_batches_in_work(workers: int) -> None:
    model = Patient()
    with running(model, workers=workers) as batcher:
        long = [submit(batcher, Row("long", n)) for n in range(20)]
        for _ in range(workers):
            assert model.entered.acquire(timeout=10)
        for number in range(3):
            submit(batcher, Row("short", number)).result(10)
        assert not any(future.done() for future in long)
        model.gate.set()
        [future.result(10) for future in long]
    assert model.most_at_once <= workers


def test_a_key_of_its_own_is_not_starved_by_full_batches() -> None:
    model = FakeModel()
    with running(model) as batcher:
        first = submit(batcher, Row("odd one", kind="odd"))
        others = [submit(batcher, Row(f"owner {n}", n)) for n in range(60)]
        model.gate.set()
        first.result(10)
        [future.result(10) for future in others]
    position = next(n for n, (key, rows) in enumerate(model.batches) if key.shared == "odd")
    assert position < 15


def test_rows_that_go_round_again_meet_their_like() -> None:
    model = FakeModel()
    with running(model) as batcher:
        futures = [submit(batcher, Row(str(n), again=n % 2)) for n in range(8)]
        model.gate.set()
        for future in futures:
            future.result(10)
    again = [rows for key, rows in model.batches if key.shared == "plain again"]
    assert [len(rows) for rows in again] == [4]


def test_an_error_fails_its_own_row_alone() -> None:
    model = FakeModel()
    with running(model) as batcher:
        futures = [submit(batcher, Row(str(n), n, kind="poison" if n == 2 else "plain")) for n in range(4)]
        model.gate.set()
        for number, future in enumerate(futures):
            if number == 2:
                with pytest.raises(ZeroDivisionError):
                    future.result(10)
            else:
                assert future.result(10).number == number
        assert submit(batcher, Row("later")).result(10).owner == "later"


def test_a_culprit_is_found_in_the_batch_that_it_spoils() -> None:
    class Spoiled(FakeModel):
        def compute(self, key: Key, rows: Sequence[Row]) -> Sequence[Key | None]:
            following = super().compute(key, rows)
            if key.stage == DECODE and any(row.number == 2 for row in rows):
                raise EngineFailed("one of these")
            return following

    model = Spoiled()
    with running(model) as batcher:
        futures = [submit(batcher, Row(str(n), n)) for n in range(4)]
        model.gate.set()
        failed = [future for future in futures if future.exception(10)]
    assert failed == [futures[2]]


def test_a_batch_too_big_for_the_memory_is_halved_for_good() -> None:
    model = FakeModel(batch=16, memory=3, splits=False)
    rounds = []
    with running(model) as batcher:
        for _ in range(2):
            before = len(model.decoded())
            futures = [submit(batcher, Row(str(n))) for n in range(16)]
            model.gate.set()
            for future in futures:
                future.result(10)
            rounds.append([len(batch) for batch in model.decoded()[before:]])
    assert rounds[0][0] > 3
    assert sum(size > 3 for size in rounds[0]) <= 3
    # It isn't tried again, and what there is room for still goes together.
    assert 1 < max(rounds[1]) <= 3


def test_a_row_that_has_no_room_even_alone_is_no_fault_of_the_recording() -> None:
    model = FakeModel(memory=0)
    model.gate.set()
    with running(model) as batcher, pytest.raises(ModelUnavailable, match="no room for even one window"):
        submit(batcher, Row("a")).result(10)


def test_a_batch_that_finds_the_device_lost_is_the_last_and_stays_among_the_calls_that_never_come_back() -> None:
    model = FakeModel()
    with running(model) as batcher:
        fatal = [Row("a", kind="fatal"), Row("b", kind="fatal")]
        lost = [submit(batcher, row) for row in fatal]
        model.gate.set()
        until(lambda: bool(batcher.calls()) and batcher.calls()[0].lost != "")
        waits = submit(batcher, Row("c"))
        (call,) = batcher.calls()
        assert (call.owners, call.lost) == (frozenset("ab"), "an illegal memory access")
        with pytest.raises(TimeoutError):
            waits.result(0.3)
        batcher.close()
        assert isinstance(waits.exception(10), Stopped)
        assert not any(row.done() for row in lost)  # whoever waits for them would blame the recordings
        assert [len(rows) for rows in model.decoded()] == [2]  # nor were they tried one by one


def test_rows_of_a_spoiled_batch_are_tried_one_by_one_only_until_the_device_is_lost() -> None:
    model = FakeModel()
    with running(model) as batcher:
        submit(batcher, Row("first"))
        assert model.entered.acquire(timeout=10)
        rows = [Row("a", kind="poison"), Row("b", kind="fatal"), Row("c", kind="fatal")]
        futures = [batcher.submit(row, Key(DECODE), owner=row.owner, cancelled=wanted) for row in rows]
        model.gate.set()
        until(lambda: any(call.lost for call in batcher.calls()))
        until(lambda: all(call.lost for call in batcher.calls()))
        (call,) = batcher.calls()
        assert call.owners == frozenset("b")
        tried = [batch for batch in model.decoded() if batch[0].kind != "plain"]
        assert tried == [rows, rows[:1], rows[1:2]]
        assert [future.done() for future in futures] == [True, False, False]


def test_an_unwanted_row_is_dropped_before_its_next_batch() -> None:
    model = FakeModel()
    flag = threading.Event()
    with running(model) as batcher:
        future = submit(batcher, Row("a"), flag.is_set)
        assert model.entered.acquire(timeout=10)
        flag.set()
        model.gate.set()
        with pytest.raises(Stopped):
            future.result(10)
    assert model.decoded() == []


def test_a_canceled_future_takes_its_row_out() -> None:
    model = FakeModel()
    with running(model) as batcher:
        held_up = submit(batcher, Row("a"))
        assert model.entered.acquire(timeout=10)
        future = submit(batcher, Row("b"))
        assert future.cancel()
        model.gate.set()
        held_up.result(10)
        with pytest.raises(CancelledError):
            future.result(10)
        until(lambda: batcher.steps >= 3)
    assert all(row.owner == "a" for _, rows in model.batches for row in rows)


def test_a_full_batcher_holds_up_the_busy_and_lets_in_the_new() -> None:
    model = FakeModel()
    with running(model, capacity=3) as batcher:
        for number in range(3):
            submit(batcher, Row("busy", number))

        def come(row: Row) -> None:
            with suppress(Stopped):
                submit(batcher, row).result(10)

        blocked, entering = (threading.Thread(target=come, args=[row]) for row in (Row("busy", 3), Row("new")))
        blocked.start()
        entering.start()
        until(lambda: "new" in batcher._inside)
        # Three of the busy one's rows and the new one's: the fourth of the busy one isn't in.
        assert {owner: count for owner, count in batcher._inside.items() if count} == {"busy": 3, "new": 1}
        assert blocked.is_alive()
        model.gate.set()
        for thread in (blocked, entering):
            thread.join(10)
            assert not thread.is_alive()
    taken = [row.number for key, rows in model.batches if key == ENCODE for row in rows if row.owner == "busy"]
    assert taken == [0, 1, 2, 3]


def test_waiting_for_room_ends_when_nobody_wants_the_row() -> None:
    model = FakeModel()
    with running(model, capacity=1) as batcher:
        submit(batcher, Row("a"))
        with pytest.raises(Stopped):
            submit(batcher, Row("a"), lambda: True)


def test_closing_ends_what_waits_with_stopped() -> None:
    model = FakeModel()
    batcher: Batcher[Row] = Batcher(model, workers=1, capacity=10)
    futures = [submit(batcher, Row("a", n)) for n in range(3)]
    assert model.entered.acquire(timeout=10)
    closing = threading.Thread(target=batcher.close)
    closing.start()
    with pytest.raises(Stopped):
        futures[2].result(10)
    model.gate.set()
    closing.join(10)
    assert not closing.is_alive()
    with pytest.raises(Stopped):
        futures[0].result(10)
    with pytest.raises(Stopped):
        submit(batcher, Row("a"))


@settings(deadline=None, max_examples=30)
@given(
    rows=st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["plain", "odd", "poison"]), st.integers(0, 3)), max_size=40
    ),
    how=st.tuples(st.integers(1, 8), st.integers(1, 8), st.booleans()),
    workers=st.integers(1, 4),
    capacity=st.integers(1, 20),
    seed=st.integers(0, 99),
)
def test_every_row_is_answered_once_whatever_comes_together(
    rows: list[tuple[str, str, int]], how: tuple[int, int, bool], workers: int, capacity: int, seed: int
) -> None:
    batch, memory, splits = how
    model = FakeModel(batch=batch, memory=memory, splits=splits)
    model.gate.set()
    unwanted = random.Random(seed).sample(range(len(rows)), len(rows) // 4)
    with running(model, workers=workers, capacity=capacity) as batcher:
        futures = {
            number: submit(batcher, Row(owner, number, kind=kind, again=again))
            for number, (owner, kind, again) in enumerate(rows)
        }
        dropped = {number for number in unwanted if futures[number].cancel()}
        for number, future in futures.items():  # fine: hypothesis gives many
            if number in dropped:
                continue
            if rows[number][1] == "poison":
                assert isinstance(future.exception(10), ZeroDivisionError)
            else:
                assert len(future.result(10).seen) == 2 + rows[number][2]
        until(lambda: batcher._inside == {} or bool(dropped))  # a row is answered before its place is free
