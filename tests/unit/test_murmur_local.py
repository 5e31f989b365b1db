"""What `murmur up` decides before anything runs: settings, models, the allocator."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from murmur.errors import CliError
from murmur.platform import allocator, ledger_server
from murmur.platform.data_dir import claimed
from murmur.platform.environment import exported, load
from murmur.platform.local import PlatformConfig
from murmur.platform.preflight import model_name
from murmur.platform.terminal import Terminal
from murmur.platform.up import resolved, with_model
from transcription.settings import Lease, Ledger, Settings
from transcription.storage import model_hub


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
    snapshot = settings.model_dir / f"models--{model_hub.DEFAULT_REPOSITORY.replace('/', '--')}" / "snapshots" / "abc"
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
        ports = iter([other.getsockname()[1], ledger_server.free_port()])
        monkeypatch.setattr(ledger_server, "free_port", lambda: next(ports))
        server = ledger_server.start(tmp_path, lambda *_: None)
        server.process.stop()
    assert next(ports, None) is None
