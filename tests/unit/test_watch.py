"""What `murmur watch` takes for a recording, and how often; what `murmur top` shows of an outage."""

import io
import os
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

NOW = 1_800_000_000.0


class Folder:
    """A directory that changes between two looks; ``next`` are those changes, and after the last the watch ends."""

    def __init__(self, path: Path) -> None:
        self.path, self.next, self.now = path, list[Callable[[], None]](), NOW

    def write(self, name: str, data: bytes = b"sound", *, age_s: float = 60.0) -> None:
        (self.path / name).write_bytes(data)
        os.utime(self.path / name, (self.now - age_s,) * 2)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if not self.next:
            raise KeyboardInterrupt
        self.next.pop(0)()

    def yielded(self, *, once: bool = False) -> list[list[str]]:
        found: list[list[str]] = []
        try:
            found.extend([source.path.name for source in ready if source.path] for ready in self._arrivals(once))
        except KeyboardInterrupt:
            found.append(["Ctrl-C"])
        return found

    def _arrivals(self, once: bool) -> Any:
        return watch.arrivals(self.path, once=once)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    made = Folder(tmp_path)
    monkeypatch.setattr(watch, "time", SimpleNamespace(time=lambda: made.now, sleep=made.sleep))
    return made


def test_a_recording_is_sent_once_it_has_stopped_growing_and_again_when_it_is_replaced(folder: Folder) -> None:
    folder.write("a.wav")
    folder.write("growing.wav", age_s=0.5)
    folder.write("empty.wav", b"")
    folder.next = [lambda: None, lambda: None, lambda: None, lambda: folder.write("a.wav", b"another", age_s=9)]
    assert folder.yielded() == [["a.wav"], ["growing.wav"], ["a.wav"], ["Ctrl-C"]]


def test_once_waits_for_what_is_still_growing_and_then_ends(folder: Folder) -> None:
    folder.write("growing.wav", age_s=0.5)
    folder.next = [lambda: None] * 9
    assert folder.yielded(once=True) == [["growing.wav"]]


def test_a_file_that_vanishes_ends_no_watch(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write("a.wav")
    there = media_in
    monkeypatch.setattr(watch, "media_in", lambda directory: [directory / "gone.wav", *there(directory)])
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
