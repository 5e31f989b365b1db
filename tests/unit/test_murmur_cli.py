"""The command line against a server that answers what a test wants: exit statuses, sentences, files."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import murmur
import murmur.client
from murmur.cli import lazy
from murmur.cli.local import check as checking
from murmur.cli.local import demo as demonstration
from murmur.cli.main import app
from murmur.cli.purge import purge
from murmur.cli.recordings.commands import _options
from murmur.cli.recordings.formats import Format
from murmur.cli.recordings.inputs import Source
from murmur.cli.recordings.transcribe import Plan, planned
from murmur.client.client import Client
from murmur.client.errors import ApiError
from murmur.errors import CliError
from murmur.platform.local import LocalPlatform, PlatformConfig
from tests.unit.test_murmur_client import JOB, Server
from transcription.settings import Settings

WORKER = {
    "id": "w1@elsewhere", "models": ["base"], "engine": "faster_whisper", "device": "cpu", "compute_type": "int8",
    "slots": 4, "host": "elsewhere", "rate": 12.34, "layout": "2 × 1 threads",
}  # fmt: skip


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def run(server: Server, *argv: str) -> tuple[int, str]:
    ran = CliRunner().invoke(app, [*argv, "--url", server.url])
    return ran.exit_code, ran.output


@pytest.mark.parametrize(
    ("status", "exit_status"),
    [("queued", 0), ("processing", 0), ("completed", 0), ("failed", 1), ("canceled", 1), ("expired", 1)],
)
def test_status_of_a_job_without_a_transcript_to_come_is_an_error(
    server: Server, status: str, exit_status: int
) -> None:
    error = {"code": "corrupt_audio", "message": "no sound in it", "retryable": False} if status == "failed" else None
    server.answers = [(200, {}, {**JOB, "status": status, "error": error})]
    found, said = run(server, "status", "j1")
    assert found == exit_status
    assert f"status    {status}" in said
    assert ("no sound in it (corrupt_audio)" in said) is (status == "failed")


def test_every_job_that_is_named_is_deleted(server: Server) -> None:
    ids = ["a" * 32, "b" * 32]
    server.answers = [(200, {}, {}), (200, {}, {})]
    assert run(server, "delete", *ids)[0] == 0
    assert [request for request, _, _ in server.requests] == [f"DELETE /v1/jobs/{one}" for one in ids]


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("command", ["transcribe", "watch"])
def test_every_option_of_a_job_can_be_given_on_the_command_line(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
    assert "--audio-track" in shown
    # What has no name of its own goes by --option.
    given = _options("en", "m", None, None, None, normalize=False, words=False, further=["beam-size=1", "cache=off"])
    assert (given["beam_size"], given["cache"]) == ("1", "off")


def test_the_asked_track_is_sent_with_the_recording(server: Server, tmp_path: Path) -> None:
    (tmp_path / "film.mkv").write_bytes(b"x")
    server.answers = [(200, {}, {"status": "ok"}), (202, {}, JOB)]
    run(server, "transcribe", str(tmp_path / "film.mkv"), "--audio-track", "en", "--no-wait")
    assert any(b'name="audio_track"' in body and b"en" in body for body in server.bodies)


def files(paths: list[str], form: Format) -> list[Path]:
    """Where transcripts of *paths* go below the directory `out`."""
    plan = Plan(formats=(form,), options={}, directory=Path("out"))
    return [task.targets[form] for task in planned([Source(path, Path(path)) for path in paths], plan)]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["a.mp3", "b.mp3"], ["a.srt", "b.srt"]),
        (["a.mp3", "a.wav"], ["a.mp3.srt", "a.wav.srt"]),
        (["a.mp3", "a.wav", "c.ogg"], ["a.mp3.srt", "a.wav.srt", "c.srt"]),
        (["x/a.mp3", "y/b.mp3"], ["a.srt", "b.srt"]),
    ],
)
def test_each_transcript_has_a_file_named_after_its_recording(paths: list[str], names: list[str]) -> None:
    found = files(paths, Format.SRT)
    assert found == [Path("out") / name for name in names]


@pytest.mark.parametrize(
    "paths", [["x/a.mp3", "y/a.mp3"], ["a.mp3", "a.wav", "a.mp3.ogg"], ["x/a.mp3", "y/a.mp3", "z/a.wav", "a.mp3"]]
)
def test_no_two_transcripts_are_written_into_one_file(paths: list[str]) -> None:
    found = files(paths, Format.TEXT)
    assert len(set(found)) == len(paths)


# ---------------------------------------------------------------- check


def findings(server: Server, *answers: Any) -> dict[str, tuple[bool | None, str]]:
    server.answers = [*answers]
    with Client(server.url) as client:
        return {one.part: (one.fit, one.detail) for one in checking.check(client)}


def test_check_finds_every_part_of_a_platform_that_works(server: Server) -> None:
    found = findings(
        server,
        (200, {}, {"ledger": True, "version": "1.2.3", "workers": 1}),
        (200, {}, {"workers": [WORKER]}),
        (200, {}, {"data": [{"id": "base", "workers": 1}, {"id": "whisper-1", "alias_of": "base"}]}),
    )
    assert found["API"] == (True, f"{server.url}, version 1.2.3")
    assert found["ledger"][0] is True
    assert found["workers"] == (True, "w1@elsewhere (faster_whisper on cpu, int8, 12.3 audio-seconds a second)")
    assert found["model"] == (True, "base")
    assert found["layout"] == (None, "w1@elsewhere: 2 × 1 threads")
    assert found["allocator"][0] is None
    assert "elsewhere" in found["allocator"][1]


def test_check_says_what_is_bad_and_looks_no_further_than_that_makes_sense(server: Server) -> None:
    found = findings(server, (503, {}, {"ledger": False, "version": "1", "workers": 0}))
    assert found["ledger"] == (False, "can't be reached by the API")
    assert set(found) == {"API", "ledger"}
    nobody = findings(server, (200, {}, {"ledger": True}), (200, {}, {"workers": []}), (200, {}, {"data": []}))
    assert nobody["workers"] == (False, "none lives")
    assert nobody["model"] == (False, "none is served")
    idle = findings(
        server,
        (200, {}, {"ledger": True}),
        (200, {}, {"workers": [WORKER]}),
        (200, {}, {"data": [{"id": "base", "workers": 0}]}),
    )
    assert idle["model"][0] is False
    closed = findings(server, (200, {}, {"ledger": True}), (403, {}, {"code": "forbidden", "detail": "this is closed"}))
    assert closed["workers"] == (False, "this is closed")


def test_check_has_status_1_when_anything_is_bad(server: Server) -> None:
    server.answers = [(503, {}, {"ledger": False, "version": "1"})]
    status, said = run(server, "check")
    assert status == 1
    assert "BAD ledger" in said
    assert "ok  API" in said
    server.answers = [
        (200, {}, {"ledger": True, "version": "1"}),
        (200, {}, {"workers": [WORKER]}),
        (200, {}, {"data": [{"id": "base", "workers": 1}]}),
    ]
    status, said = run(server, "check")
    assert status == 0
    assert "BAD" not in said


# ---------------------------------------------------------------- purge


def page(*ids: str, cursor: str | None = None) -> tuple[int, dict[str, str], Any]:
    return 200, {}, {"jobs": [{**JOB, "id": one} for one in ids], "cursor": cursor}


def test_purge_cancels_every_waiting_job_of_every_page(server: Server) -> None:
    done = (200, {}, {**JOB, "status": "canceled"})
    gone = (409, {}, {"code": "job_finished", "detail": "it is done"})
    lost = (404, {}, {"code": "job_not_found", "detail": "no such job"})
    server.answers = [page("a", "b", cursor="next"), done, gone, page("c", "d"), done, lost]
    with Client(server.url) as client:
        assert purge(client) == 2
    asked = [request for request, _, _ in server.requests]
    assert asked == [
        "GET /v1/jobs?status=queued&limit=200",
        "POST /v1/jobs/a/cancel",
        "POST /v1/jobs/b/cancel",
        "GET /v1/jobs?status=queued&limit=200&cursor=next",
        "POST /v1/jobs/c/cancel",
        "POST /v1/jobs/d/cancel",
    ]


def test_purge_stops_where_it_is_not_allowed_and_says_why(server: Server) -> None:
    server.answers = [page("a", "b"), (403, {}, {"code": "forbidden", "detail": "this API key may read"})]
    with Client(server.url) as client, pytest.raises(ApiError, match="may read"):
        purge(client)


def test_purge_asks_before_it_does_anything(server: Server) -> None:
    server.answers = [page()]
    ran = CliRunner().invoke(app, ["purge", "--url", server.url], input="n\n")
    assert ran.exit_code == 1
    assert server.requests == []
    assert run(server, "purge", "--yes") == (0, "0 jobs canceled\n")


@pytest.mark.parametrize(
    ("module", "others"),
    [
        ("murmur.cli.jobs", {"numpy", "redis", "celery", "transcription", "api", "worker"}),
        ("murmur.cli.ledger.backup", {"numpy", "celery", "httpx", "api", "worker"}),
        ("murmur.edge.metrics", {"httpx", "pydantic", "rich"}),
        ("murmur.cli.main", {"httpx", "pydantic", "redis"}),
    ],
)
def test_a_command_waits_for_nothing_that_only_others_need(module: str, others: set[str]) -> None:
    code = f"import sys; import {module}; print(sorted({others} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_the_library_has_its_clients_when_they_are_asked_for() -> None:
    assert set(dir(murmur)) == set(murmur.__all__)
    assert all(getattr(murmur, name) for name in murmur.__all__)
    assert murmur.client.Client is murmur.Client
    for module in (murmur, murmur.client):
        with pytest.raises(AttributeError, match="'Clint'"):
            _ = module.Clint


def test_the_demo_joins_no_platform_that_the_environment_or_a_file_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("MURMUR_LEDGER__BROKER_URL=redis://10.0.0.1:6379/1\nMURMUR_MODEL=base\n")
    named = {
        "MURMUR_LEDGER__URL": "redis://10.0.0.1:6379/0",
        "MURMUR_LEDGER__PASSWORD_FILE": "/run/secrets/redis",
        "MURMUR_BLOBS__URL": "s3://bucket/recordings",
        "MURMUR_PROFILE": "strict",
        "MURMUR_SECURITY__REQUIRE_KEYS": "true",
        "MURMUR_ENCRYPTION__KEY_FILE": "/run/secrets/keys",
        "MURMUR_API__TRUSTED_HOSTS": "speech.example.org",
        "murmur_data_dir_file": "/run/secrets/directory",
    }
    kept = {"MURMUR_WORKER__THREADS": "2", "MURMUR_LIMITS__MIN_FREE_DISK_BYTES": "0", "MURMUR_HTTP_PORT": "80"}
    for name, value in (named | kept).items():
        monkeypatch.setenv(name, value)
    seen: dict[str, Settings] = {}
    monkeypatch.setattr(demonstration, "demo", lambda settings, *_: seen.update(settings=settings))
    ran = CliRunner().invoke(app, ["demo"])
    assert (ran.exit_code, ran.output) == (0, "")
    # Its processes inherit the environment.
    assert {name for name in os.environ if name.upper().startswith("MURMUR_")} == set(kept)
    platform = LocalPlatform(seen["settings"], PlatformConfig(), sink=print, say=print)
    assert platform.embedded
    assert platform.settings.ledger == Settings().ledger
    assert platform.settings.worker.threads == 2
    assert not platform.settings.blobs.url
    assert not platform.settings.security.require_keys


def test_a_mistyped_command_of_the_platform_is_told_what_was_meant() -> None:
    ran = CliRunner().invoke(app, ["bakup"])
    assert (ran.exit_code, "Did you mean 'backup'?" in ran.output) == (2, True)


def test_a_command_whose_packages_are_missing_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name="redis")

    monkeypatch.setattr(lazy, "import_module", absent)
    ran = CliRunner().invoke(app, ["keys", "create", "mine", "--scope", "read"])
    assert isinstance(ran.exception, CliError)
    assert "`murmur keys` needs the platform: pip install" in str(ran.exception)
    assert "no module redis" in str(ran.exception)
