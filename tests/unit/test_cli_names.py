"""Names of transcripts: none lost, whatever the recordings are called."""

import io
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from api.openapi.values import JOB
from murmur.cli.recordings.formats import Format
from murmur.cli.recordings.inputs import Source, media_in, sources
from murmur.cli.recordings.outputs import stems, write
from murmur.cli.recordings.transcribe import Plan, transcribe
from murmur.client.client import Client
from murmur.client.errors import Unreachable
from murmur.client.responses import RemoteJob
from murmur.errors import CliError


def named(*paths: str) -> list[str]:
    return stems([Source(path, Path(path)) for path in paths])


def test_names_grow_only_as_far_as_they_must() -> None:
    assert named("a/talk.flac", "b/other.mp3") == ["talk", "other"]
    assert named("talk.flac", "talk.mp3") == ["talk.flac", "talk.mp3"]
    assert named("a/talk.flac", "b/talk.flac") == ["a-talk.flac", "b-talk.flac"]
    assert named("x/a/talk.flac", "y/a/talk.flac", "solo.wav") == ["x-a-talk.flac", "y-a-talk.flac", "solo"]


def test_names_that_differ_in_case_only_are_one_file_on_many_disks() -> None:
    assert len({name.casefold() for name in named("Talk.flac", "talk.flac", "TALK.mp3")}) == 3


@settings(deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(["a", "b", "A", "a-b", "talk.wav", "talk.mp3", "talk", "..", "talk-2"]), min_size=1),
        max_size=12,
    )
)
def test_no_two_recordings_share_a_name(paths: list[list[str]]) -> None:
    names = named(*("/".join(parts) for parts in paths))
    assert len({name.casefold() for name in names}) == len(paths)
    assert not [name for name in names if "/" in name]


def test_directories_and_patterns_are_searched_and_nothing_is_named_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one.mp3", "deep/two.WAV", "deep/notes.txt", ".hidden/three.mp3"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.name for path in media_in(tmp_path)] == ["two.WAV", "one.mp3"]
    monkeypatch.chdir(tmp_path)
    assert [source.label for source in sources(["*.mp3", "deep", "one.mp3"])] == ["one.mp3", "deep/two.WAV"]
    (tmp_path / "empty").mkdir()
    for nothing in ("empty", "*.ogg"):
        with pytest.raises(CliError, match=r"there is no recording|nothing fits"):
            sources([nothing])


def test_a_transcript_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new" / "talk.txt"
    write(target, "all of it\n")
    with pytest.raises(UnicodeEncodeError):
        write(target, "half \ud800")
    assert target.read_text() == "all of it\n"
    assert [path.name for path in target.parent.iterdir()] == ["talk.txt"]


def test_a_job_that_may_go_on_without_its_client_is_named(tmp_path: Path) -> None:
    class Gone:
        """A platform that takes a job and is then away for longer than a client waits."""

        def submit(self, audio: object, **_: object) -> RemoteJob:
            return RemoteJob.model_validate(JOB | {"status": "queued"})

        def job(self, *_: object, **__: object) -> RemoteJob:
            raise Unreachable("unreachable", "no answer from http://127.0.0.1:1", 0)

    (tmp_path / "talk.mp3").write_bytes(b"talk")
    said = io.StringIO()
    plan = Plan(formats=(Format.TEXT,), options={})
    source = Source("talk.mp3", tmp_path / "talk.mp3")
    failed = transcribe(cast("Client", Gone()), [source], plan, Console(file=said, width=200))
    assert [failure.source for failure in failed] == [source]
    assert f"`murmur result {JOB['id']}` takes the transcript" in said.getvalue()


class Done:
    """A platform that transcribes whatever it is given at once, but for one recording that nobody has thought of."""

    def submit(self, audio: Path, **_: object) -> RemoteJob:
        if audio.name == "odd.mp3":
            raise ZeroDivisionError("no such luck")
        return RemoteJob.model_validate(JOB)

    def result(self, *_: object) -> str:
        return "hello\n"


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac's disk has no such names")
def test_name_that_is_no_utf8_is_printed_as_far_as_it_can_be_and_stays_that_of_the_transcript(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, printed = [os.fsdecode(b"caf\xe9.mp3"), "b.mp3"], "caf\ufffd.mp3"
    for name in found:
        (tmp_path / name).write_bytes(b"talk")
    recordings = [Source(name, tmp_path / name) for name in found]
    plan = Plan(formats=(Format.TEXT,), options={})

    def out(plan: Plan) -> str:
        assert transcribe(cast("Client", Done()), recordings, plan, Console(stderr=True)) == []
        return capsys.readouterr().out

    assert f"==> {printed} <==\nhello\n" in out(plan)
    assert f"{JOB['id']}  {printed}\n" in out(replace(plan, wait=False))
    told = map(json.loads, out(replace(plan, as_json=True, directory=tmp_path / "out")).splitlines())
    assert {one["source"]: one["files"] for one in told}[printed] == [str(tmp_path / "out" / "caf\ufffd.txt")]
    assert (tmp_path / "out" / os.fsdecode(b"caf\xe9.txt")).read_text() == "hello\n"


def test_what_nobody_foresaw_in_one_recording_is_its_failure_and_the_others_are_written(tmp_path: Path) -> None:
    names = ["a.mp3", "odd.mp3", "z.mp3"]
    for name in names:
        (tmp_path / name).write_bytes(b"talk")
    said, plan = io.StringIO(), Plan(formats=(Format.TEXT,), options={}, directory=tmp_path / "out")
    recordings = [Source(name, tmp_path / name) for name in names]
    failed = transcribe(cast("Client", Done()), recordings, plan, Console(file=said, width=200))
    assert [failure.source.label for failure in failed] == ["odd.mp3"]
    assert said.getvalue() == "murmur: odd.mp3: ZeroDivisionError: no such luck\n"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.txt", "z.txt"]
