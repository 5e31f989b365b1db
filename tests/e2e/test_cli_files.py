"""`murmur transcribe` and its neighbours on files, against a real platform: nothing is lost in silence."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from demo import SAMPLES
from murmur.cli import main as cli
from tests.platform import TestPlatform, eventually, running_platform


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str


Murmur = Callable[..., Done]


@pytest.fixture
def murmur(
    platform: TestPlatform, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Murmur:
    """Run the command line in this process, against the platform, with a home of its own."""
    monkeypatch.setenv("MURMUR_URL", platform.url)
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["murmur", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Done(int(ended.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def twins(tmp_path: Path) -> list[Path]:
    """Two recordings of one name."""
    paths = [tmp_path / "a" / "talk.flac", tmp_path / "b" / "talk.flac"]
    for path, sample in zip(paths, ("short", "german"), strict=True):
        path.parent.mkdir()
        path.write_bytes(SAMPLES[sample].path.read_bytes())
    return paths


def texts(directory: Path) -> list[list[str]]:
    return sorted(path.read_text().split() for path in directory.iterdir())


def test_two_recordings_of_one_name_leave_two_transcripts(murmur: Murmur, twins: list[Path], tmp_path: Path) -> None:
    done = murmur("transcribe", *twins, "--output-dir", tmp_path / "out")
    assert done.status == 0
    assert texts(tmp_path / "out") == sorted(SAMPLES[name].transcript.split() for name in ("short", "german"))


def test_a_file_that_is_there_is_replaced_only_when_asked(murmur: Murmur, tmp_path: Path) -> None:
    target = tmp_path / "out" / "short.txt"
    target.parent.mkdir()
    target.write_text("mine\n")
    refused = murmur("transcribe", SAMPLES["short"].path, "-o", target.parent)
    assert refused.status == 1
    assert "--overwrite" in refused.err
    assert target.read_text() == "mine\n"
    assert murmur("transcribe", SAMPLES["short"].path, "-o", target.parent, "--overwrite").status == 0
    assert target.read_text().split() == SAMPLES["short"].transcript.split()


def test_what_was_done_before_is_left_alone_and_what_changed_is_not(murmur: Murmur, tmp_path: Path) -> None:
    recording = tmp_path / "talk.flac"
    recording.write_bytes(SAMPLES["short"].path.read_bytes())
    out = tmp_path / "out"
    assert murmur("transcribe", recording, "-o", out, "--json").status == 0
    again = json.loads(murmur("transcribe", recording, "-o", out, "--json").out)
    assert (again["outcome"], again["job"]) == ("done before", None)
    recording.write_bytes(SAMPLES["german"].path.read_bytes())
    changed = murmur("transcribe", recording, "-o", out)
    assert (changed.status, "--overwrite" in changed.err) == (1, True)


def test_every_format_at_once_and_one_by_a_file_s_extension(murmur: Murmur, tmp_path: Path) -> None:
    assert murmur("transcribe", SAMPLES["short"].path, "-o", tmp_path / "all", "--format", "all").status == 0
    names = sorted(path.name for path in (tmp_path / "all").iterdir())
    assert names == ["short.json", "short.srt", "short.tsv", "short.txt", "short.vtt"]
    assert json.loads((tmp_path / "all" / "short.json").read_text())["segments"]
    assert murmur("transcribe", SAMPLES["short"].path, "-o", tmp_path / "one.srt").status == 0
    assert (tmp_path / "one.srt").read_text().startswith("1\n00:00:00,")


def test_standard_input_and_options_without_a_name_of_their_own(
    murmur: Murmur, monkeypatch: pytest.MonkeyPatch, platform: TestPlatform
) -> None:
    recording = SAMPLES["short"].path.read_bytes() + b"stdin"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(recording)))
    done = murmur("transcribe", "-", "-O", "beam_size=1", "--option", "priority=batch")
    assert done.out.split() == SAMPLES["short"].transcript.split()
    with platform.client() as client:
        options = client.jobs(limit=1).jobs[0].options
    assert (options["beam_size"], options["priority"]) == (1, "batch")
    refused = murmur("transcribe", SAMPLES["short"].path, "-O", "nonsense=1")
    assert (refused.status, "unknown option 'nonsense'" in refused.err) == (1, True)


def test_a_job_is_made_without_waiting_found_by_its_beginning_taken_and_forgotten(
    murmur: Murmur, tmp_path: Path
) -> None:
    submitted = murmur("transcribe", SAMPLES["short"].path, "--no-wait", "-O", "prompt=found by its beginning")
    job_id = submitted.out.split()[0]
    beginning = job_id[:10]
    assert murmur("result", beginning).out.split() == SAMPLES["short"].transcript.split()
    assert json.loads(murmur("status", beginning, "--json").out)["id"] == job_id
    assert murmur("result", beginning, "-f", "vtt", "-o", tmp_path / "x.vtt").status == 0
    assert murmur("result", beginning, "-f", "vtt", "-o", tmp_path / "x.vtt").status == 2
    assert job_id in murmur("jobs").out
    assert json.loads(murmur("jobs", "--json").out)["jobs"]
    assert murmur("delete", beginning).status == 0
    assert murmur("status", job_id).status == 1


def test_a_watched_directory_is_transcribed_as_recordings_come(
    murmur: Murmur, twins: list[Path], tmp_path: Path
) -> None:
    inbox = tmp_path
    assert murmur("watch", inbox, "--once", "-o", tmp_path / "out").status == 0
    for path, sample in zip(twins, ("short", "german"), strict=True):
        target = tmp_path / "out" / path.relative_to(inbox).with_name("talk.flac.txt")
        assert target.read_text().split() == SAMPLES[sample].transcript.split()


def test_the_file_of_settings_says_where_and_by_which_key(
    murmur: Murmur, platform: TestPlatform, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MURMUR_URL")
    file = tmp_path / "XDG_CONFIG_HOME" / "murmur" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_text(f'url = "{platform.url}"\nkey = "mur_x"\n')
    assert murmur("jobs").status == 0
    file.write_text('urll = "x"\n')
    wrong = murmur("jobs")
    assert (wrong.status, "unknown setting 'urll'" in wrong.err) == (2, True)


def test_the_version_and_a_look_at_the_platform(murmur: Murmur) -> None:
    assert murmur("--version").out.startswith("murmur 0.")
    assert "faster_whisper" in murmur("top").out


def test_an_api_that_restarts_ends_no_waiting_command(tmp_path: Path) -> None:
    recording = tmp_path / "restart.flac"
    recording.write_bytes(SAMPLES["long"].path.read_bytes() + b"\0" * 96)
    with running_platform(tmp_path / "data") as mortal:
        os.killpg(mortal.pids()["w1"], signal.SIGSTOP)
        argv = [sys.executable, "-m", "murmur", "transcribe", str(recording), "--url", mortal.url]
        with (
            mortal.client() as client,
            subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
        ):
            eventually(lambda: client.jobs().jobs, 60)
            api = mortal.supervisor.process("api")
            assert api is not None
            api.kill()
            os.killpg(mortal.pids()["w1"], signal.SIGCONT)

            def over() -> bool:
                mortal.restart_exited()
                return process.poll() is not None

            eventually(over, 90, every_s=0.1)
            out, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (0, "")
    assert out.split() == SAMPLES["long"].transcript.split()


def test_a_toy_that_answers_for_another_model_is_told(murmur: Murmur) -> None:
    done = murmur("transcribe", SAMPLES["short"].path, SAMPLES["german"].path, "--model", "large-v3")
    assert done.status == 0
    assert done.err.count("the built-in demo model, a toy, answers for large-v3") == 1
