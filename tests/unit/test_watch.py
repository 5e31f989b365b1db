"""What `murmur watch` takes for a recording, and how often; what `murmur top` shows of an outage."""

import io
import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from api.openapi.values import JOB
from murmur.cli import top as top_module
from murmur.cli.recordings import watch
from murmur.cli.recordings.failures import Failure
from murmur.cli.recordings.inputs import media_in
from murmur.client.client import Client
from murmur.client.errors import ApiError, JobEnded, Unreachable
from murmur.client.responses import RemoteJob

CHANGED = 1_800_000_000.0


class Folder:
    """A directory that changes between two looks; ``next`` are those changes, and after the last the watch ends."""

    def __init__(self, path: Path) -> None:
        self.path, self.next, self.now, self.said = path, list[Callable[[], None]](), 0.0, io.StringIO()
        self.times: list[float] = []

    def write(self, name: str, data: bytes = b"sound", *, changed: float = CHANGED) -> None:
        (self.path / name).write_bytes(data)
        os.utime(self.path / name, (changed, changed))

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if not self.next:
            raise KeyboardInterrupt
        self.next.pop(0)()

    def yielded(self, *failing: Exception, once: bool = False) -> list[list[str]]:
        """What came; the first recordings fail by the errors that are given, one by one."""
        watching = watch.Watch(self.path, Console(file=self.said, width=200), once=once)
        found, errors = list[list[str]](), list(failing)
        try:
            for ready in watching.arrivals():
                found.append([source.path.name for source in ready])
                self.times.append(self.now)
                watching.again([Failure(source, errors.pop(0)) for source in ready if errors])
        except KeyboardInterrupt:
            found.append(["Ctrl-C"])
        return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    made = Folder(tmp_path)
    monkeypatch.setattr(watch, "time", SimpleNamespace(monotonic=lambda: made.now, sleep=made.sleep))
    return made


def nothing() -> None:
    """No change between two looks."""


def test_a_recording_is_sent_once_it_has_stopped_growing_and_again_when_it_is_replaced(folder: Folder) -> None:
    folder.write("a.wav")
    folder.write("growing.wav")
    folder.write("empty.wav", b"")
    folder.next = [lambda: folder.write("growing.wav", b"sounds"), nothing, nothing, nothing]
    folder.next += [lambda: folder.write("a.wav", b"noise", changed=CHANGED + 1), nothing, nothing, nothing]
    folder.next += [lambda: folder.write("empty.wav"), nothing, nothing]
    assert folder.yielded() == [["a.wav"], ["growing.wav"], ["a.wav"], ["empty.wav"], ["Ctrl-C"]]
    assert not folder.said.getvalue()


def test_once_waits_for_what_is_still_growing_and_then_ends(folder: Folder) -> None:
    folder.write("growing.wav")
    folder.next = [lambda: folder.write("growing.wav", b"sounds")] + [nothing] * 9
    assert folder.yielded(once=True) == [["growing.wav"]]
    assert folder.now == 1 + watch.QUIET_S


@pytest.mark.parametrize("once", [True, False])
def test_file_from_the_future_is_sent_like_any_other(folder: Folder, *, once: bool) -> None:
    folder.write("future.wav", changed=time.time() + 3600)
    folder.next = [nothing] * 9
    assert folder.yielded(once=once) == [["future.wav"]] + ([] if once else [["Ctrl-C"]])


def test_once_leaves_a_file_that_stays_empty_and_says_so(folder: Folder) -> None:
    folder.write("a.wav")
    folder.write("empty.wav", b"")
    folder.next = [nothing] * 9
    assert folder.yielded(once=True) == [["a.wav"]]
    assert folder.said.getvalue() == f"murmur: {folder.path / 'empty.wav'}: it is empty, and left out\n"


def job_ended(status: str, *, retryable: bool) -> JobEnded:
    error = {"code": "engine_failed", "message": "boom", "retryable": retryable}
    return JobEnded(RemoteJob.model_validate(JOB | {"status": status, "error": error}))


AWAY = Unreachable("unreachable", "no answer", 0)


def test_what_the_platform_was_away_for_comes_again_after_pauses_that_grow_up_to_a_longest(folder: Folder) -> None:
    folder.write("a.wav")
    folder.next = [nothing] * 5000
    assert folder.yielded(*[AWAY] * 9) == [["a.wav"]] * 10 + [["Ctrl-C"]]
    pauses = [later - earlier for earlier, later in pairwise(folder.times)]
    assert pauses == [10, 20, 40, 80, 160, 320, 600, 600, 600]
    assert f"murmur: {folder.path / 'a.wav'}: the next try is in 10 s\n" in folder.said.getvalue()


def test_a_recording_that_is_replaced_does_not_wait_for_the_next_try(folder: Folder) -> None:
    folder.write("a.wav")
    folder.next = [nothing, nothing, lambda: folder.write("a.wav", b"another"), nothing, nothing]
    assert folder.yielded(AWAY) == [["a.wav"], ["a.wav"], ["Ctrl-C"]]


def test_once_tries_nothing_again(folder: Folder) -> None:
    folder.write("a.wav")
    # For longer than the first pause.
    folder.next = [partial(folder.write, "growing.wav", b"s" * size) for size in range(1, 20)] + [nothing] * 9
    assert folder.yielded(AWAY, once=True) == [["a.wav"], ["growing.wav"]]


@pytest.mark.parametrize(
    ("error", "times"),
    [
        (ApiError("upload_incomplete", "cut off", 408), 2),
        (ApiError("quota", "enough for today", 429), 2),
        (ApiError("storage_full", "no room", 507), 2),
        (job_ended("failed", retryable=True), 2),
        (job_ended("failed", retryable=False), 1),
        (JobEnded(RemoteJob.model_validate(JOB | {"status": "canceled"})), 1),
        (ApiError("unsupported_media", "no recording", 415), 1),
        (FileNotFoundError("gone"), 1),
    ],
    ids=str,
)
def test_only_what_failed_for_a_reason_that_passes_comes_again(folder: Folder, error: Exception, times: int) -> None:
    folder.write("a.wav")
    folder.next = [nothing] * 30
    assert folder.yielded(error) == [["a.wav"]] * times + [["Ctrl-C"]]


def test_a_file_that_vanishes_ends_no_watch(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write("a.wav")
    there = media_in
    monkeypatch.setattr(watch, "media_in", lambda directory: [directory / "gone.wav", *there(directory)])
    folder.next = [nothing] * 9
    assert folder.yielded(once=True) == [["a.wav"]]


class Stats:
    """A client whose platform is away at its second answer."""

    def __init__(self) -> None:
        self.asked = 0

    def stats(self) -> dict[str, Any]:
        self.asked += 1
        if self.asked == 2:
            raise ApiError("unreachable", "the API can't be reached", 503)
        jobs = dict.fromkeys(("queued", "processing", "completed", "failed"), self.asked)
        return {
            "jobs": jobs, "queue": {"audio_seconds": 0.0}, "workers": [], "cache": {"hit_ratio": None},
            "dead_letters": 0,
        }  # fmt: skip


def shown(*, is_terminal: bool, looks: int) -> tuple[str, int]:
    """What `top` writes in so many looks, and how often it asked."""
    stats, out, rests = Stats(), io.StringIO(), iter(range(looks))

    def rest(_: float) -> None:
        if next(rests, None) is None:
            raise KeyboardInterrupt

    console = Console(file=out, force_terminal=is_terminal, width=120, height=20)
    with suppress(KeyboardInterrupt):
        top_module.show(cast("Client", stats), console, each_s=1.0, rest=rest)
    return out.getvalue(), stats.asked


def test_an_outage_is_shown_above_the_last_that_is_known_and_ends_no_view() -> None:
    text, asked = shown(is_terminal=True, looks=2)
    assert asked == 3
    assert "can't be reached" in text
    assert "3 waiting" in text


def test_a_program_is_told_once() -> None:
    text, asked = shown(is_terminal=False, looks=2)
    assert (asked, "1 waiting" in text) == (1, True)
