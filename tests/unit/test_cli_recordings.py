"""What the options of `murmur transcribe` and `murmur watch` come to: the plan, the request, the status."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from murmur.cli.main import app
from murmur.cli.recordings import commands
from murmur.cli.recordings.formats import ALL, Format
from murmur.cli.recordings.inputs import Source
from murmur.cli.recordings.transcribe import Plan

GIVEN = {
    "diarize": None, "num_speakers": None, "known_speakers": None, "languages": None, "multilingual": None,
    "channel_names": None, "language": None, "model": None, "task": None, "prompt": None, "hotwords": None,
    "normalize": None, "word_timestamps": None,
}  # fmt: skip


@dataclass
class Ran:
    """What the commands had done; every run has so many *failures*."""

    failures: int = 0
    plans: list[Plan] = field(default_factory=list)
    found: list[list[str]] = field(default_factory=list)
    watched: list[bool] = field(default_factory=list)
    tried_again: list[list[str]] = field(default_factory=list)

    def run(self, _: object, sources: Sequence[Source], plan: Plan, __: object) -> list[str]:
        self.found.append([source.label for source in sources])
        self.plans.append(plan)
        return [f"failure of {sources[0].label}"] * self.failures

    def watch(self, directory: Path, _: object, *, once: bool) -> SimpleNamespace:
        self.watched.append(once)
        found = ([Source(name, directory / name)] for name in ("a.wav", "b.wav"))
        return SimpleNamespace(arrivals=lambda: found, again=self.tried_again.append)

    def __call__(self, *argv: str | Path) -> int:
        return CliRunner().invoke(app, [*map(str, argv)]).exit_code


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ran:
    made = Ran()
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "b.wav", "voice.wav"):
        (tmp_path / name).write_bytes(b"sound")
    client = SimpleNamespace(health=dict)
    monkeypatch.setattr(commands, "connect", lambda *_, **__: nullcontext(client))
    monkeypatch.setattr(commands, "run", made.run)
    monkeypatch.setattr(commands, "Watch", made.watch)
    return made


@pytest.mark.parametrize(
    ("argv", "asked"),
    [
        ([], {}),
        (["-l", "de", "-m", "base", "--task", "translate", "--prompt", "So.", "--hotwords", "Zulu"],
         {"language": "de", "model": "base", "task": "translate", "prompt": "So.", "hotwords": "Zulu"}),
        (["--normalize", "--words"], {"normalize": True, "word_timestamps": True}),
        (["--diarize"], {"diarize": True}),
        (["--num-speakers", "2"], {"diarize": True, "num_speakers": 2}),
        (["--known-speaker", "Anna=voice.wav"], {"diarize": True, "known_speakers": {"Anna": "voice.wav"}}),
        (["--languages", "de,en", "--multilingual"], {"languages": "de,en", "multilingual": True}),
        (["--split-channels"], {"channels": "split"}),
        (["--channel-names", "agent,customer"], {"channels": "split", "channel_names": "agent,customer"}),
        (["--audio-track", "2"], {"audio_track": "2"}),
        (["-O", "beam-size=1", "-O", "webhook_url=http://x/?a=b"], {"beam_size": "1", "webhook_url": "http://x/?a=b"}),
    ],
)  # fmt: skip
def test_every_option_is_asked_of_the_api_by_its_name(ran: Ran, argv: list[str], asked: dict[str, Any]) -> None:
    assert ran("transcribe", "a.wav", *argv) == 0
    assert ran.plans[0].options == GIVEN | asked


@pytest.mark.parametrize(
    ("argv", "plan"),
    [
        (["a.wav"], {"formats": (Format.TEXT,), "wait": True, "live": False, "as_json": False}),
        (["a.wav", "--overwrite", "--resume"], {"overwrite": True, "resume": True}),
        (["a.wav", "--no-wait"], {"wait": False}),
        (["a.wav", "--live", "--json"], {"live": True, "as_json": True}),
        (["a.wav", "-o", "x.srt"], {"file": Path("x.srt"), "formats": (Format.SRT,), "directory": None}),
        (["a.wav", "-o", "x.json"], {"file": Path("x.json"), "formats": (Format.VERBOSE_JSON,)}),
        (["a.wav", "-o", "x.txt"], {"file": Path("x.txt"), "formats": (Format.TEXT,)}),
        (["a.wav", "-o", "x.srt", "-f", "vtt"], {"file": Path("x.srt"), "formats": (Format.VTT,)}),
        (["a.wav", "-o", "out"], {"directory": Path("out"), "file": None}),
        (["a.wav", "-o", "there.srt"], {"directory": Path("there.srt"), "file": None}),
        (["a.wav", "b.wav", "-o", "x.srt"], {"directory": Path("x.srt"), "file": None}),
        (["a.wav", "b.wav", "-f", "all", "-o", "out"], {"directory": Path("out"), "formats": ALL}),
        (["a.wav", "b.wav", "-f", "srt", "--no-wait"], {"formats": (Format.SRT,)}),
    ],
)
def test_where_transcripts_go_and_how(ran: Ran, argv: list[str], plan: dict[str, Any]) -> None:
    Path("there.srt").mkdir()
    assert ran("transcribe", *argv) == 0
    assert {name: getattr(ran.plans[0], name) for name in plan} == plan


@pytest.mark.parametrize(
    "argv",
    [
        ["*.wav", "-o", "x.srt"],
        ["*.wav", "-o", "x.txt"],
        ["a.wav", "b.wav", "-f", "srt"],
        ["a.wav", "b.wav", "--live"],
        ["a.wav", "-f", "all", "-o", "x.srt"],
        ["a.wav", "-f", "pdf"],
        ["a.wav", "-O", "beam_size"],
        ["a.wav", "--known-speaker", "Anna=nowhere.wav"],
        ["a.wav", "--known-speaker", "=voice.wav"],
        ["a.wav", "--known-speaker", "voice.wav"],
        ["nothing*.wav"],
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_refused_before_anything_is_sent(ran: Ran, argv: list[str]) -> None:
    assert ran("transcribe", *argv) != 0
    assert ran.plans == []


@pytest.mark.parametrize("command", [("transcribe", "a.wav"), ("watch", ".")])
@pytest.mark.parametrize(("failures", "status"), [(0, 0), (1, 1)])
def test_status_is_1_when_a_recording_failed(ran: Ran, command: tuple[str, ...], failures: int, status: int) -> None:
    ran.failures = failures
    assert ran(*command) == status


def test_watch_goes_on_with_what_it_did_before_and_keeps_the_directories_as_they_are(ran: Ran) -> None:
    assert ran("watch", ".", "--once", "-O", "beam_size=1", "--audio-track", "2", "-f", "srt") == 0
    assert (ran.found, ran.watched) == ([["a.wav"], ["b.wav"]], [True])
    plan = ran.plans[-1]
    assert (plan.directory, plan.root, plan.formats) == (Path(), Path(), (Format.SRT,))
    assert (plan.resume, plan.overwrite, plan.wait) == (True, False, True)
    assert (plan.options["beam_size"], plan.options["audio_track"]) == ("1", "2")
    assert ran("watch", ".", "-o", "out", "--overwrite", "--json") == 0
    plan = ran.plans[-1]
    assert (plan.directory, plan.root, plan.overwrite, plan.as_json) == (Path("out"), Path(), True, True)
    assert ran.watched == [True, False]


def test_watch_is_told_what_failed(ran: Ran) -> None:
    ran.failures = 1
    assert ran("watch", ".") == 1
    assert ran.tried_again == [["failure of a.wav"], ["failure of b.wav"]]


def test_a_directory_that_is_not_there_can_not_be_watched(ran: Ran) -> None:
    assert ran("watch", "nowhere") != 0
    assert ran.watched == []
