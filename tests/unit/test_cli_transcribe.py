"""`murmur transcribe` against a platform that answers what a test wants: warnings, earlier jobs, and files."""

import io
import os
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from api.openapi.values import JOB
from murmur.cli.recordings.formats import Format
from murmur.cli.recordings.inputs import Source
from murmur.cli.recordings.outputs import Ledger, digest, write
from murmur.cli.recordings.transcribe import Plan, planned, transcribe
from murmur.client.client import Client
from murmur.client.responses import RemoteJob


class Platform:
    """Every job that is handed in is done at once; others are as the test has them."""

    def __init__(self, **jobs: dict[str, Any]) -> None:
        self.jobs = {name: RemoteJob.model_validate({**JOB, "id": name, **job}) for name, job in jobs.items()}
        self.submitted = 0

    def submit(self, *_: object, **__: object) -> RemoteJob:
        self.submitted += 1
        return self.jobs["new"]

    def job(self, job_id: str, **_: object) -> RemoteJob:
        return self.jobs[job_id]

    def result(self, job_id: str, _: str) -> str:
        return f"of {job_id}\n"


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def source(tmp_path: Path) -> Source:
    (tmp_path / "talk.mp3").write_bytes(b"talk")
    return Source("talk.mp3", tmp_path / "talk.mp3")


def run(platform: Platform, source: Source, plan: Plan) -> str:
    said = io.StringIO()
    assert transcribe(cast("Client", platform), [source], plan, Console(file=said, width=200)) == 0
    return said.getvalue()


def test_what_a_transcript_lacks_is_said_beside_it(source: Source, tmp_path: Path) -> None:
    warning = {"code": "truncated", "message": "the file ends early", "start": 4.0, "count": 2}
    platform = Platform(new={"status": "completed", "warnings": [warning]})
    said = run(platform, source, Plan(formats=(Format.TEXT,), options={}, directory=tmp_path / "out"))
    assert "murmur: talk.mp3: warning: truncated at 4.0 s: the file ends early (2 times)" in said
    assert (tmp_path / "out" / "talk.txt").read_text() == "of new\n"


@pytest.mark.parametrize(("earlier", "taken"), [("completed", "old"), ("failed", "new"), ("canceled", "new")])
def test_resumed_run_takes_an_earlier_job_only_where_a_transcript_comes_of_it(
    source: Source, tmp_path: Path, earlier: str, taken: str
) -> None:
    plan = Plan(formats=(Format.TEXT,), options={"language": "en"}, directory=tmp_path / "out", resume=True)
    ((form, target),) = planned([source], plan)[0].targets.items()
    Ledger().note(target, digest(source, plan.options, form), "old")
    platform = Platform(old={"status": earlier}, new={"status": "completed"})
    run(platform, source, plan)
    assert platform.submitted == (0 if taken == "old" else 1)
    assert target.read_text() == f"of {taken}\n"


def test_same_recording_is_other_work_with_other_options_and_in_another_format() -> None:
    source = Source("-", b"talk")
    asked: list[tuple[dict[str, object], Format]] = [
        ({}, Format.TEXT), ({"language": "en"}, Format.TEXT), ({"language": "de"}, Format.TEXT), ({}, Format.SRT),
    ]  # fmt: skip
    assert len({digest(source, options, form) for options, form in asked}) == len(asked)
    assert digest(source, {"language": None}, Format.TEXT) == digest(source, {}, Format.TEXT)


def test_who_reads_a_transcript_while_it_is_replaced_reads_one_of_them_whole(tmp_path: Path) -> None:
    target = tmp_path / "talk.txt"
    write(target, "the first one\n")
    with target.open() as reading:
        write(target, "the second one\n")
        assert reading.read() == "the first one\n"
    assert target.read_text() == "the second one\n"


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_transcript_may_be_read_by_whoever_may_read_any_new_file(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write(tmp_path / "talk.txt", "hello\n")
    finally:
        os.umask(before)
    assert (tmp_path / "talk.txt").stat().st_mode & 0o777 == 0o666 & ~umask
