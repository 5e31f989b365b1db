"""The environment as people write it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from murmur.errors import CliError
from murmur.platform import environment
from transcription.settings import InvalidSettings, Settings, read_settings


@pytest.mark.parametrize("written", ["a,b", '["a","b"]', "[a,b]", " a , b ", "[a, b]"])
def test_a_list_may_be_written_with_commas(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("MURMUR_MODELS", written)
    monkeypatch.setenv("MURMUR_API__CORS_ORIGINS", written)
    settings = read_settings()
    assert settings.models == ("a", "b")
    assert settings.api.cors_origins == ("a", "b")


def test_other_names_may_be_written_as_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MURMUR_MODEL_ALIASES", "best=large-v3, fast=tiny")
    assert read_settings().model_aliases == {"best": "large-v3", "fast": "tiny"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MURMUR_API__PORT", "lots"),
        ("MURMUR_NEEDS", "{large-v3: {device: cuda}}"),
        ("MURMUR_MODEL_ALIASES", "nonsense"),
        ("MURMUR_SECURITY__TIERS", "{x"),
        ("MURMUR_WORKER__LANGUAGES", "{"),
        ("MURMUR_DEVICE", "abacus"),
    ],
)
def test_an_error_names_the_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings, match=f"^{name}: "):
        read_settings()


def test_a_setting_that_is_none_is_told_with_the_nearest_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MURMUR_MODLE", "base")
    monkeypatch.setenv("MURMUR_HTTP_PORT", "80")  # Compose's
    with pytest.warns(FutureWarning, match="MURMUR_MODLE is no setting; did you mean MURMUR_MODEL"):
        read_settings()
    monkeypatch.delenv("MURMUR_MODLE")
    monkeypatch.setenv("MURMUR_API__PROT", "80")
    with pytest.raises(InvalidSettings, match=r"MURMUR_API__PROT: .*did you mean MURMUR_API__PORT"):
        read_settings()


def test_every_reader_takes_a_tilde_for_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MURMUR_DATA_DIR", "~/speech")
    monkeypatch.setenv("MURMUR_BACKUP__DIR", "~/kept")
    settings = read_settings()
    assert settings.model_dir == tmp_path / "speech" / "models"
    assert settings.backup_dir == tmp_path / "kept"
    assert read_settings(data_dir=Path("~/asked")).data_dir == tmp_path / "asked"
    monkeypatch.setenv("MURMUR_DATA_DIR", "~nobody-at-all/speech")
    with pytest.raises(InvalidSettings, match=r"MURMUR_DATA_DIR: .*no home directory"):
        read_settings()


def test_a_secret_is_never_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MURMUR_WEBHOOK__SECRETS", "hush-hush")
    with pytest.raises(InvalidSettings, match="MURMUR_WEBHOOK__SECRETS") as error:
        read_settings()
    assert "hush" not in str(error.value)


def test_the_example_file_sourced_by_a_shell_gives_the_defaults(tmp_path: Path) -> None:
    example = (Path(__file__).parents[2] / ".env.example").read_text()
    assignments = [line.removeprefix("# ") for line in example.splitlines() if line.startswith("# MURMUR_")]
    simple = [line for line in assignments if "{" not in line]
    (tmp_path / ".env").write_text("\n".join(simple))
    script = "set -a; . ./.env; set +a; exec \"$0\" -c 'from transcription.settings import *; read_settings()'"
    done = subprocess.run(
        ["bash", "-c", script, sys.executable],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_command_line_reads_dotenv_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text('MURMUR_MODELS=["small","base"]\nMURMUR_API__PORT=9123\nMURMUR_HTTP_PORT=80\n')
    monkeypatch.setenv("MURMUR_API__PORT", "9124")
    monkeypatch.setenv("MURMUR_MODELS", "")
    monkeypatch.delenv("MURMUR_MODELS")
    settings = environment.load()
    assert (settings.models, settings.api.port) == (("small", "base"), 9124)
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("MURMUR_MODELS", "")
    monkeypatch.setenv("MURMUR_API__PORT", "none")
    with pytest.raises(CliError, match="MURMUR_API__PORT"):
        environment.load()


def test_an_api_with_a_wrong_setting_ends_with_a_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "api.main"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "MURMUR_API__PORT": "none"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("settings: MURMUR_API__PORT: ")
    assert "Traceback" not in done.stderr


def test_defaults_are_unchanged() -> None:
    assert read_settings() == Settings()
