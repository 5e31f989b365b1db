"""`murmur transcribe` against a platform that answers what a test wants: warnings, earlier jobs, and files."""

import io
import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from api.openapi.values import JOB
from murmur.cli.recordings.formats import ALL, Format
from murmur.cli.recordings.inputs import Source
from murmur.cli.recordings.outputs import Ledger, digest, write
from murmur.cli.recordings.transcribe import Plan, Transcriber, bars, planned, transcribe
from murmur.client.client import Client
from murmur.client.errors import ApiError
from murmur.client.responses import RemoteJob
from murmur.errors import CliError


class Platform:
    """Every job that is handed in is done at once; others are as the test has them."""

    def __init__(self, **jobs: dict[str, Any]) -> None:
        self.jobs = {name: RemoteJob.model_validate({**JOB, "id": name, **job}) for name, job in jobs.items()}
        self.submitted = 0
        self.filenames: list[str | None] = []
        self.canceled: list[str] = []
        self.taken: list[str] = []
        self.refused: Path | None = None
        self.together = threading.Barrier(1)

    def submit(self, audio: object, *, filename: str | None, **_: object) -> RemoteJob:
        self.submitted += 1
        self.filenames.append(filename)
        self.together.wait(20)
        if audio == self.refused:
            raise ApiError("unsupported_media", "no recording", 415)
        return self.jobs["new"]

    def job(self, job_id: str, **_: object) -> RemoteJob:
        if job_id not in self.jobs:
            raise ApiError("job_not_found", "no such job", 404)
        return self.jobs[job_id]

    def cancel(self, job_id: str) -> None:
        self.canceled.append(job_id)
        if job_id not in self.jobs:
            raise ApiError("job_not_found", "no such job", 404)

    def events(self, _: str) -> Iterator[SimpleNamespace]:
        yield SimpleNamespace(type="segment", data={"text": " as it comes"})

    def result(self, job_id: str, form: str) -> str:
        self.taken.append(form)
        return f"of {job_id}\n"


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def source(tmp_path: Path) -> Source:
    (tmp_path / "talk.mp3").write_bytes(b"talk")
    return Source("talk.mp3", tmp_path / "talk.mp3")


def ran(platform: Platform, sources: list[Source], plan: Plan) -> tuple[int, str]:
    """How many failed, and what was said of it."""
    said = io.StringIO()
    return len(transcribe(cast("Client", platform), sources, plan, Console(file=said, width=200))), said.getvalue()


def run(platform: Platform, source: Source, plan: Plan) -> str:
    failed, said = ran(platform, [source], plan)
    assert failed == 0
    return said


def several(tmp_path: Path) -> list[Source]:
    found = []
    for name in ("a.mp3", "b.mp3", "c.mp3"):
        (tmp_path / name).write_bytes(name.encode())
        found.append(Source(name, tmp_path / name))
    return found


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
    Ledger().note(target, digest(source, plan.options, form), "old", written=False)
    platform = Platform(old={"status": earlier}, new={"status": "completed"})
    run(platform, source, plan)
    assert platform.submitted == (0 if taken == "old" else 1)
    assert target.read_text() == f"of {taken}\n"


def test_recording_that_fails_is_named_and_counted_and_the_others_are_written(tmp_path: Path) -> None:
    platform, sources = Platform(new={"status": "completed"}), several(tmp_path)
    platform.refused = tmp_path / "b.mp3"
    failed, said = ran(platform, sources, Plan(formats=(Format.TEXT,), options={}, directory=tmp_path / "out"))
    assert (failed, said) == (1, "murmur: b.mp3: no recording\n")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.txt", "c.txt"]


def test_several_recordings_are_on_their_way_at_once(tmp_path: Path) -> None:
    platform, sources = Platform(new={"status": "completed"}), several(tmp_path)
    platform.together = threading.Barrier(3)
    assert ran(platform, sources, Plan(formats=(Format.TEXT,), options={}))[0] == 0


def test_job_that_ends_without_a_transcript_is_a_failure_and_nothing_is_written(source: Source, tmp_path: Path) -> None:
    error = {"code": "corrupt_audio", "message": "no sound in it", "retryable": False}
    platform = Platform(new={"status": "failed", "error": error})
    failed, said = ran(platform, [source], Plan(formats=(Format.TEXT,), options={}, directory=tmp_path / "out"))
    assert failed == 1
    assert "murmur: talk.mp3: job new failed: no sound in it" in said
    assert "goes on where the platform does" not in said
    assert not (tmp_path / "out").exists()


def test_what_was_done_before_is_left_alone_and_what_somebody_else_wrote_is_not_replaced(
    source: Source, tmp_path: Path
) -> None:
    platform, plan = Platform(new={"status": "completed"}), Plan(formats=ALL, options={}, directory=tmp_path / "out")
    run(platform, source, plan)
    assert platform.taken == list(ALL)
    (tmp_path / "out" / "talk.srt").unlink()
    run(platform, source, plan)
    assert (platform.submitted, platform.taken[len(ALL) :]) == (2, ["srt"])
    run(platform, source, plan)
    assert platform.submitted == 2
    (tmp_path / "out" / "talk.txt").write_text("somebody's own\n")
    other = replace(plan, options={"language": "de"})
    failed, said = ran(platform, [source], other)
    assert (failed, platform.submitted) == (1, 2)
    assert "is there already; --overwrite replaces it" in said
    run(platform, source, replace(other, overwrite=True))
    assert (tmp_path / "out" / "talk.txt").read_text() == "of new\n"


def test_file_that_was_to_be_replaced_and_was_not_counts_as_not_done(source: Source, tmp_path: Path) -> None:
    plan, target = Plan(formats=(Format.TEXT,), options={}, directory=tmp_path / "out"), tmp_path / "out" / "talk.txt"
    write(target, "of another recording\n")
    platform = Platform(new={"status": "failed"})
    assert ran(platform, [source], replace(plan, overwrite=True))[0] == 1
    platform.jobs["new"] = RemoteJob.model_validate({**JOB, "id": "new"})
    failed, said = ran(platform, [source], plan)
    assert (failed, "is there already; --overwrite replaces it" in said) == (1, True)
    run(platform, source, replace(plan, overwrite=True, wait=False))
    assert target.read_text() == "of another recording\n"
    run(platform, source, replace(plan, resume=True))
    assert (target.read_text(), platform.submitted) == ("of new\n", 2)
    run(platform, source, plan)
    assert platform.submitted == 2


def test_format_that_is_there_stays_done_though_the_job_for_another_failed(source: Source, tmp_path: Path) -> None:
    platform, plan = Platform(new={"status": "completed"}), Plan(formats=ALL, options={}, directory=tmp_path / "out")
    run(platform, source, plan)
    (tmp_path / "out" / "talk.srt").unlink()
    platform.jobs["new"] = RemoteJob.model_validate({**JOB, "id": "new", "status": "failed"})
    assert ran(platform, [source], plan)[0] == 1
    platform.jobs["new"] = RemoteJob.model_validate({**JOB, "id": "new"})
    run(platform, source, plan)
    assert platform.taken[len(ALL) :] == ["srt"]


def test_what_an_earlier_version_noted_counts_as_written(source: Source, tmp_path: Path) -> None:
    plan = Plan(formats=(Format.TEXT,), options={}, directory=tmp_path / "out")
    platform = Platform(new={"status": "completed"})
    run(platform, source, plan)
    (note,) = (tmp_path / "state" / "murmur" / "transcripts").iterdir()
    kept = json.loads(note.read_text())
    note.write_text(json.dumps({name: kept[name] for name in ("target", "digest", "job")}))
    run(platform, source, plan)
    assert platform.submitted == 1


@pytest.mark.parametrize("form", [Format.TEXT, Format.SRT])
def test_job_that_was_only_handed_in_is_taken_up_by_a_resumed_run_unless_it_is_gone(
    source: Source, tmp_path: Path, form: Format, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Plan(formats=(form,), options={}, directory=tmp_path / "out", wait=False)
    platform = Platform(new={"status": "queued"})
    run(platform, source, plan)
    assert capsys.readouterr().out == "new  talk.mp3\n"
    assert not (tmp_path / "out").exists()
    platform.jobs["new"] = RemoteJob.model_validate({**JOB, "id": "new"})
    run(platform, source, replace(plan, wait=True, resume=True))
    assert platform.submitted == 1
    assert (tmp_path / "out" / f"talk.{form.extension}").read_text() == "of new\n"
    (tmp_path / "out" / f"talk.{form.extension}").unlink()
    Ledger().note(tmp_path / "out" / f"talk.{form.extension}", digest(source, {}, form), "gone", written=False)
    run(platform, source, replace(plan, wait=True, resume=True))
    assert platform.submitted == 2


def test_text_of_one_recording_is_alone_and_that_of_several_says_whose_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    platform, sources = Platform(new={"status": "completed"}), several(tmp_path)
    plan = Plan(formats=(Format.TEXT,), options={})
    ran(platform, sources[:1], plan)
    assert capsys.readouterr().out == "of new\n"
    ran(platform, sources[:2], plan)
    said = capsys.readouterr().out
    assert "==> a.mp3 <==\nof new\n" in said
    assert "==> b.mp3 <==\nof new\n" in said
    ran(platform, sources[:1], replace(plan, as_json=True))
    shape = {"source": "a.mp3", "job": "new", "outcome": "done", "files": [], "text": "of new\n"}
    assert json.loads(capsys.readouterr().out) == shape
    ran(platform, sources[:1], replace(plan, live=True))
    assert capsys.readouterr().out == "as it comes\n"


def test_standard_input_is_called_so_and_a_file_by_its_own_name(source: Source) -> None:
    platform, plan = Platform(new={"status": "completed"}), Plan(formats=(Format.TEXT,), options={})
    run(platform, source, plan)
    run(platform, Source("-", b"talk"), plan)
    assert platform.filenames == [None, "stdin"]


@pytest.mark.parametrize(
    ("asked", "served", "times"), [("base", "demo", 1), (None, "demo", 0), ("demo", "demo", 0), ("base", "base", 0)]
)
def test_toy_that_answers_for_a_real_model_is_told_once(
    tmp_path: Path, asked: str | None, served: str, times: int
) -> None:
    platform = Platform(new={"status": "completed", "model": served})
    said = ran(platform, several(tmp_path), Plan(formats=(Format.TEXT,), options={"model": asked}))[1]
    assert said.count("a toy, answers for") == times


def test_every_job_is_given_up_though_one_of_them_is_gone() -> None:
    platform, plan = Platform(b={"status": "queued"}), Plan(formats=(Format.TEXT,), options={})
    running = Transcriber(cast("Client", platform), plan, bars(Console(file=io.StringIO())), several=True)
    running.unfinished |= {"a": "a.mp3", "b": "b.mp3"}
    running.stop()
    assert platform.canceled == ["a", "b"]


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize(("pieces", "canceled"), [(1, []), (0, ["new"])], ids=["upload", "answer"])
def test_who_interrupts_an_upload_waits_for_no_more_of_it_and_leaves_no_job_behind(
    source: Source, capsys: pytest.CaptureFixture[str], pieces: int, canceled: list[str], *, wait: bool
) -> None:
    platform, said = Platform(new={"status": "queued"}), io.StringIO()

    def submit(*_: object, progress: Callable[[int, int], None], **__: object) -> RemoteJob:
        progress(1, 2)
        running.stop()
        for _piece in range(pieces):
            progress(2, 2)
        return platform.jobs["new"]

    client = cast("Client", SimpleNamespace(submit=submit, cancel=platform.cancel, job=platform.job))
    plan = Plan(formats=(Format.TEXT,), options={}, wait=wait)
    running = Transcriber(client, plan, bars(Console(file=said)), several=False)
    with pytest.raises(CliError, match="interrupted"):
        running.transcribe(planned([source], plan)[0])
    assert platform.canceled == canceled
    assert said.getvalue().count("gave up job new") == len(canceled)
    assert (running.unfinished, capsys.readouterr().out) == ({}, "")


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
