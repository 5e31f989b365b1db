"""What `murmur up` decides before anything runs: settings, models, the allocator."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import nullcontext, suppress
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pydantic import SecretStr

from murmur.errors import CliError
from murmur.platform import allocator, ledger_server, up
from murmur.platform.data_dir import claimed
from murmur.platform.environment import exported, load
from murmur.platform.local import LocalPlatform, PlatformConfig
from murmur.platform.preflight import model_name
from murmur.platform.processes import Program
from murmur.platform.terminal import Terminal
from murmur.platform.up import resolved, with_model
from tests.free_port import free_port
from transcription.settings import Lease, Ledger, Settings


def test_settings_survive_the_way_through_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = Settings(
        model="demo",
        models=("base", "small"),
        model_aliases={"fast": "demo"},
        data_dir=tmp_path,
        lease=Lease(ttl_s=3, renew_s=0.5),
        ledger=Ledger(url=SecretStr("redis://:secret@host/1"), wait_aof=True),
    )
    assert "**" not in "".join(exported(settings).values())
    for name, value in exported(settings).items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


def test_defaults_are_not_exported() -> None:
    assert exported(Settings()) == {}


def test_the_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MURMUR_API__PORT", "9000")
    monkeypatch.setenv("MURMUR_API__HOST", "0.0.0.0")
    settings = load({"api": {"port": 9001, "host": None}, "model": None})
    assert (settings.api.port, settings.api.host, settings.model) == (9001, "0.0.0.0", "auto")


@pytest.mark.parametrize(
    ("name", "value"), [("MURMUR_API__PORT", "many"), ("MURMUR_MODELS", "[not json"), ("MURMUR_LEASE__TTL_S", "-1")]
)
def test_a_wrong_variable_is_named_in_one_sentence(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(CliError) as trouble:
        load()
    assert name.removeprefix("MURMUR_").lower() in str(trouble.value).lower()
    assert trouble.value.status == 2


def test_relative_paths_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.bin").touch()
    settings = resolved(Settings(data_dir=Path("data"), model="./model"))
    assert settings.data_dir == tmp_path / "data"
    assert settings.model == str(tmp_path / "model")


@pytest.mark.parametrize("name", ["demo", "auto", "large-v3", "distil-large-v3.5"])
def test_published_names_are_models(name: str) -> None:
    assert model_name(name) == name


def test_auto_without_a_hub_is_the_demo_model_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert with_model(Settings(data_dir=tmp_path), Terminal()).model == "demo"
    said = capsys.readouterr().out
    assert "NO REAL MODEL" in said
    assert "toy vocabulary" in said


def test_auto_is_base_once_that_has_been_fetched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    settings = Settings(data_dir=tmp_path)
    snapshot = settings.model_dir / "models--Systran--faster-whisper-base" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "model.bin").touch()
    assert with_model(settings, Terminal()).model == "base"
    assert capsys.readouterr().out == ""


def test_a_model_that_cannot_be_fetched_ends_the_start_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SystemExit) as ended:
        with_model(Settings(data_dir=tmp_path, model="tiny"), Terminal())
    assert ended.value.code == 2
    said = capfd.readouterr().err.splitlines()
    assert said[-1].startswith("murmur: the model tiny can't be fetched")
    assert "Traceback" not in " ".join(said)


def test_glibc_is_tuned_unless_another_allocator_is_preloaded() -> None:
    if sys.platform == "linux":
        assert allocator.tunables({}, libc="glibc") == allocator.GLIBC
        assert "MALLOC_ARENA_MAX" not in allocator.tunables({"MALLOC_ARENA_MAX": "4"}, libc="glibc")
    assert allocator.tunables({}, libc="") == {}
    assert allocator.tunables({"LD_PRELOAD": "/usr/lib/libjemalloc.so.2"}, libc="glibc") == {}


def test_an_allocator_is_described_as_it_is() -> None:
    assert "not tuned" in allocator.describe({})
    assert "glibc, tuned" in allocator.describe(allocator.GLIBC)
    assert "jemalloc" in allocator.describe({"LD_PRELOAD": "/usr/lib/libjemalloc.so.2"})


def test_a_data_directory_has_one_holder_at_a_time(tmp_path: Path) -> None:
    with claimed(tmp_path), pytest.raises(CliError, match="in use by a platform that runs"), claimed(tmp_path):
        pass
    with claimed(tmp_path):
        pass


def test_a_data_directory_is_free_when_the_last_inheritor_of_its_lock_has_ended(tmp_path: Path) -> None:
    with claimed(tmp_path) as lock:
        inheritor = subprocess.Popen(["sleep", "0.5"], pass_fds=(lock,))
        # A holder that died without a word leaves its process id in the file.
        (tmp_path / "murmur.lock").write_text("999999999")
    with claimed(tmp_path):
        assert inheritor.wait(5) == 0


def test_a_platform_that_listens_everywhere_is_reached_over_loopback() -> None:
    assert PlatformConfig(host="0.0.0.0", port=1).url == "http://127.0.0.1:1"
    assert PlatformConfig(host="::", port=1).url == "http://[::1]:1"


def test_a_platform_that_listens_on_one_address_is_reached_there() -> None:
    assert PlatformConfig(host="10.0.0.1", port=1).url == "http://10.0.0.1:1"
    assert PlatformConfig(host="::1", port=1).url == "http://[::1]:1"


def test_a_platform_that_would_listen_on_any_free_port_starts_nothing(ended_by: list[str], tmp_path: Path) -> None:
    layout = PlatformConfig(port=0)
    with pytest.raises(CliError, match="--port"), up.running(Settings(data_dir=tmp_path), layout, Terminal()):
        pass
    assert ended_by == []


def local(tmp_path: Path, *, lock: int | None = None, workers: int = 2, **changes: Any) -> LocalPlatform:
    """A platform whose supervisor only takes note; ``started``, ``adopted`` and ``stopped`` are its."""
    settings = Settings(data_dir=tmp_path, **changes)
    layout = PlatformConfig(workers=workers, port=4321)
    platform = LocalPlatform(settings, layout, sink=lambda *_: None, say=lambda _: None, lock=lock)
    noted = SimpleNamespace(started=[], adopted=[], stopped=[], names=lambda: ["ledger", "w1", "w2", "api"])
    noted.start, noted.stop = noted.started.append, noted.stopped.append
    noted.adopt = lambda program, _: noted.adopted.append(program)
    noted.restart_exited = noted.check_started = lambda: None
    platform.supervisor = cast("Any", noted)
    return platform


def started(platform: LocalPlatform) -> dict[str, Program]:
    platform.start()
    return {program.name: program for program in cast("Any", platform.supervisor).started}


def test_the_api_ends_first_and_the_ledger_last(tmp_path: Path) -> None:
    platform = local(tmp_path)
    platform.stop()
    assert cast("Any", platform.supervisor).stopped == [["api"], ["w1", "w2"], ["ledger"]]


def test_every_part_of_the_platform_knows_the_ledger_that_it_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    ledger = SimpleNamespace(process=SimpleNamespace(program=Program(name="ledger", argv=())), url="redis://own/0")
    monkeypatch.setattr(ledger_server, "start", lambda *_, **how: asked.append(how) or ledger)  # type: ignore[func-returns-value]
    monkeypatch.setattr("murmur.platform.local.available", lambda: 8)
    monkeypatch.setattr(allocator, "tunables", lambda _: {"MALLOC_ARENA_MAX": "2"})
    platform = local(tmp_path, lock=7)
    programs = started(platform)
    assert list(programs) == ["w1", "w2", "api"]
    assert [program.name for program in cast("Any", platform.supervisor).adopted] == ["ledger"]
    assert {program.env["MURMUR_LEDGER__URL"] for program in programs.values()} == {"redis://own/0"}
    assert {program.env["MURMUR_API__PORT"] for program in programs.values()} == {"4321"}
    assert asked[0]["descriptors"] == (7,)
    assert [programs[name].argv[-1] for name in ("w1", "w2")] == ["w1@%h", "w2@%h"]
    assert [programs[name].env["MURMUR_WORKER__MODEL_WORKERS"] for name in ("w1", "w2")] == ["4", "4"]
    assert [programs[name].env["MALLOC_ARENA_MAX"] for name in ("w1", "w2")] == ["2", "2"]
    assert [program.replaceable for program in programs.values()] == [True, True, False]
    # It answers those who wait before it is killed.
    assert int(programs["api"].env["MURMUR_API__STOP_S"]) < programs["api"].grace_s


def test_a_ledger_of_ones_own_and_ones_own_replicas_are_left_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_server, "start", lambda *_, **__: pytest.fail("a ledger was started"))
    platform = local(tmp_path, ledger={"url": "redis://elsewhere/0"}, worker={"model_workers": 3})
    programs = started(platform)
    assert {program.env["MURMUR_LEDGER__URL"] for program in programs.values()} == {"redis://elsewhere/0"}
    assert programs["w1"].env["MURMUR_WORKER__MODEL_WORKERS"] == "3"


def test_a_platform_that_never_gets_ready_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([False] * 100)
    client = SimpleNamespace(ready=lambda: next(looks))
    monkeypatch.setattr("murmur.platform.local.Client", lambda *_, **__: nullcontext(client))
    monkeypatch.setattr("murmur.platform.local.POLL_INTERVAL_S", 0.0)
    with pytest.raises(CliError, match="isn't ready after 0 s"):
        local(tmp_path).until_ready(0.0)


@pytest.fixture
def ended_by(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done to the platform that `running` has, which isn't there."""
    found: list[str] = []

    class Platform:
        def __init__(self, *_: object, lock: int, **__: object) -> None:
            self.supervisor = SimpleNamespace(kill=lambda: found.append("killed"))
            assert os.fstat(lock)  # which its ledger's server is to inherit

        def start(self) -> None:
            found.append("started")

        def stop(self) -> None:
            found.append("stopped")

    monkeypatch.setattr(up, "LocalPlatform", Platform)
    monkeypatch.setattr(os, "_exit", lambda status: found.append(f"exit {status}"))
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_first_signal_stops_the_platform_in_order_and_the_next_one_kills_it(
    ended_by: list[str], tmp_path: Path, number: signal.Signals
) -> None:
    before = {one: signal.getsignal(one) for one in (*up.ENDING, signal.SIGALRM)}
    settings = Settings(data_dir=tmp_path, model="demo")
    with (
        pytest.raises(KeyboardInterrupt),
        up.running(settings, PlatformConfig(port=free_port()), Terminal()),
    ):
        signal.raise_signal(number)
    assert ended_by == ["started", "stopped"]
    assert {one: signal.getsignal(one) for one in before} == before
    signals = up.Signals(lambda: ended_by.append("killed"))
    try:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        with suppress(KeyboardInterrupt):  # nothing is the end here
            signal.raise_signal(number)
    finally:
        signals.restore()
    assert ended_by[2:] == ["killed", f"exit {128 + number}"]


def test_a_signal_in_a_destructor_which_python_loses_stops_the_platform_too(
    ended_by: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Destroyed:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    lost: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: lost.append(what.exc_type))
    monkeypatch.setattr(up, "AGAIN_S", 0.01)
    settings = Settings(data_dir=tmp_path, model="demo")

    def go_on() -> None:
        with up.running(settings, PlatformConfig(port=free_port()), Terminal()):
            Destroyed()
            ended_by.append("went on")
            Event().wait(60)

    with pytest.raises(KeyboardInterrupt):
        go_on()
    assert lost == [KeyboardInterrupt]
    assert ended_by == ["started", "went on", "stopped"]
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_a_platform_whose_port_is_taken_starts_nothing(ended_by: list[str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        layout = PlatformConfig(port=taken.getsockname()[1])
        with pytest.raises(CliError, match="is taken"), up.running(Settings(data_dir=tmp_path), layout, Terminal()):
            pass
    assert ended_by == []


@pytest.mark.parametrize(
    ("model", "repository"),
    [("tiny", "Systran--faster-whisper-tiny"), ("turbo", "mobiuslabsgmbh--faster-whisper-large-v3-turbo")],
)
def test_a_model_is_fetched_into_the_directory_that_was_named_and_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: str, repository: str
) -> None:
    fetched: list[Any] = []

    def run(argv: list[str], *, env: dict[str, str], **_: object) -> SimpleNamespace:
        fetched.append((argv[-3:], env["MURMUR_DATA_DIR"]))
        snapshot = tmp_path / "models" / f"models--{repository}" / "snapshots" / "abc"
        snapshot.mkdir(parents=True)
        (snapshot / "model.bin").touch()
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    settings = Settings(data_dir=tmp_path, model=model)
    assert settings.model_dir == tmp_path / "models"
    for _ in range(2):
        assert with_model(settings, Terminal()).model == model
    assert fetched == [(["models", "download", model], str(tmp_path))]


def test_exported_values_are_json_where_the_settings_read_json() -> None:
    assert json.loads(exported(Settings(models=("a",)))["MURMUR_MODELS"]) == ["a"]


def test_the_embedded_ledger_is_this_machine_s_alone_forgets_nothing_and_tells_no_argument_its_password(
    tmp_path: Path,
) -> None:
    argv = list(ledger_server.server_program(tmp_path, 6400, password="s" * 64).argv)
    options = dict(zip(argv[2::2], argv[3::2], strict=True))
    known = {"--bind": "127.0.0.1", "--appendonly": "yes", "--maxmemory-policy": "noeviction", "--save": ""}
    assert known.items() <= options.items()
    assert "s" * 64 not in " ".join(argv)
    assert Path(argv[1]).read_text() == f"requirepass {'s' * 64}\n"
    assert Path(argv[1]).stat().st_mode & 0o777 == 0o600


def test_the_embedded_ledger_s_password_is_made_once_and_its_owner_s_alone(tmp_path: Path) -> None:
    found = ledger_server.password_in(tmp_path / "ledger")
    assert len(found) >= 32
    assert ledger_server.password_in(tmp_path / "ledger") == found
    (file,) = (tmp_path / "ledger").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "ledger").stat().st_mode & 0o777 == 0o700


def test_a_port_that_another_process_takes_in_the_same_moment_costs_one_more_try(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        ports = iter([other.getsockname()[1], free_port()])
        monkeypatch.setattr(ledger_server, "free_port", lambda: next(ports))
        server = ledger_server.start(tmp_path, lambda *_: None)
        server.process.stop()
    assert next(ports, None) is None
