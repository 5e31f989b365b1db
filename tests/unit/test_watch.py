"""What `murmur watch` takes for a recording, and how often; what `murmur top` shows of an outage."""

import io
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from murmur.cli import top as top_module
from murmur.cli.recordings import watch
from murmur.cli.recordings.inputs import media_in
from murmur.client.client import Client
from murmur.client.errors import ApiError

CHANGED = 1_800_000_000.0


class Folder:
    """A directory that changes between two looks; ``next`` are those changes, and after the last the watch ends."""

    def __init__(self, path: Path) -> None:
        self.path, self.next, self.now, self.said = path, list[Callable[[], None]](), 0.0, io.StringIO()

    def write(self, name: str, data: bytes = b"sound", *, changed: float = CHANGED) -> None:
        (self.path / name).write_bytes(data)
        os.utime(self.path / name, (changed, changed))

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if not self.next:
            raise KeyboardInterrupt
        self.next.pop(0)()

    def yielded(self, *, once: bool = False) -> list[list[str]]:
        watching = watch.Watch(self.path, Console(file=self.said, width=200), once=once)
        found: list[list[str]] = []
        try:
            found.extend([source.path.name for source in ready] for ready in watching.arrivals())
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
