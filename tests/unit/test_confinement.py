"""What a decoder's process can't do, tried from inside it; and each layer tried alone."""

import json
import os
import platform
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import audio_files, sound
from transcription.errors import InvalidAudio
from transcription.media import landlock
from transcription.media.decoder import Decoder
from transcription.media.prober import Prober
from transcription.media.sandbox import Sandbox
from transcription.settings import Settings

ROOT = Path(__file__).parents[2]
FUNCTION = "transcription.media.reach:attempts"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the layers are Linux's")

# Where a process can be born before it is locked in: this is how much it could do without any layer.
FILES = {"read a file", "list a directory", "write a file", "delete a file", "make a link", "open the input again"}
PROCESSES = {"run a program", "fork"}
SOCKETS = {"connect", "listen", "open a socket"}


def tried(sandbox: Sandbox, tmp_path: Path) -> dict[str, Any]:
    """What the sandbox's process found when it tried everything against this one."""
    secret, upload = tmp_path / "secret", tmp_path / "upload"
    secret.write_text("theirs")
    upload.write_text("ours")
    with socket.create_server(("127.0.0.1", 0)) as listener, upload.open("rb") as file:
        port = listener.getsockname()[1]
        return dict(
            sandbox.run(
                [file.fileno()], cpu_s=5, silence_s=20, path=str(secret), port=port, process=os.getpid()
            )
        )  # fmt: skip


@pytest.fixture
def secret_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MURMUR_LEDGER__URL", "redis://:a-password@127.0.0.1/0")


@pytest.fixture
def sandbox(secret_environment: None) -> Iterator[Sandbox]:
    running = Sandbox(FUNCTION, memory_bytes=256 << 20)
    yield running
    running.close()


def test_a_decoder_reaches_no_file_process_socket_or_secret(sandbox: Sandbox, tmp_path: Path) -> None:
    found = tried(sandbox, tmp_path)
    assert found["reached"] == []
    assert found["environment"] == []
    assert found["descriptors"] == 2  # its input, and where its answer goes
    assert set(found["layers"]) >= {"no_new_privs", "not_dumpable", "seccomp"}
    assert ("landlock" in found["layers"]) == bool(landlock.form())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["secret", "upload"]


def test_without_its_layers_a_process_still_opens_nothing_and_knows_no_secret(
    secret_environment: None, tmp_path: Path
) -> None:
    loose = Sandbox(FUNCTION, memory_bytes=256 << 20, confined=False)
    try:
        found = tried(loose, tmp_path)
    finally:
        loose.close()
    # Limits alone: this is what the layers are for.
    assert found["reached"]
    assert not {"read a file", "write a file", "connect"} & set(found["reached"])
    assert found["environment"] == []


def alone(setup: str, tmp_path: Path) -> set[str]:
    """What a process reaches after *setup*, with no limit and no other layer, while this one has a secret."""
    (tmp_path / "secret").write_text("theirs")
    (tmp_path / "upload").write_text("ours")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        code = f"""
import ctypes, json, os, sys
from transcription.media import landlock, reach, seccomp
file = os.open({str(tmp_path / "upload")!r}, os.O_RDONLY)
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
{setup}
sys.stdout.write(json.dumps(reach.attempts(
    file, path={str(tmp_path / "secret")!r}, port={listener.getsockname()[1]}, process=os.getppid())["reached"]))
sys.stdout.flush()
os._exit(0)
"""
        ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, timeout=60)
    return set(json.loads(ran.stdout))


def test_every_attempt_succeeds_where_nothing_is_locked(tmp_path: Path) -> None:
    reached = alone("", tmp_path)
    assert reached >= FILES | PROCESSES | SOCKETS | {"read another's environment", "signal another process"}


@pytest.mark.skipif(not landlock.form(), reason="this kernel has no Landlock")
def test_landlock_alone_closes_files_connections_and_neighbours(tmp_path: Path) -> None:
    reached = alone("assert landlock.restrict()", tmp_path)
    closed = FILES | {
        "read another's environment",
        "read its own environment",
        "trace another process",
        "run a program",
    }
    if landlock.form() >= 4:
        closed |= {"connect", "listen"}
    if landlock.form() >= 6:
        closed |= {"signal another process"}
    assert not closed & reached


@pytest.mark.skipif(platform.machine() not in {"x86_64", "aarch64"}, reason="the filter knows two machines")
def test_the_filter_alone_closes_everything(tmp_path: Path) -> None:
    assert alone("assert seccomp.install()", tmp_path) == set()


def test_a_process_without_the_right_to_leave_its_network_is_locked_in_all_the_same(
    secret_environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker's default filter refuses `unshare`; a limit on user namespaces and no privilege do the same here."""
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/sh\nexec {sys.executable} {ROOT}/tests/without_unshare.py "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(wrapper))
    running = Sandbox(FUNCTION, memory_bytes=256 << 20)
    (tmp_path / "files").mkdir()
    try:
        found = tried(running, tmp_path / "files")
    finally:
        running.close()
    assert "network_namespace" not in found["layers"]
    assert found["reached"] == []


def test_an_abort_in_a_locked_process_is_still_a_crash_and_threads_still_run(tmp_path: Path) -> None:
    # Both need system calls that the filter judges by their arguments.
    code = """
import ctypes, os, threading
from transcription.media import seccomp
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
assert seccomp.install()
ran = []
thread = threading.Thread(target=ran.append, args=(1,)); thread.start(); thread.join()
assert ran == [1]
os.abort()
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False, timeout=60)
    assert ran.returncode == -6, ran.stderr


def test_a_file_whose_tables_claim_gigabytes_takes_none_of_them(tmp_path: Path) -> None:
    path = tmp_path / "claims"
    path.write_bytes(audio_files.claiming(60_000_000))
    settings = Settings()
    prober, decoder = Prober(settings), Decoder(settings)
    before = _peak_bytes()
    try:
        with pytest.raises(InvalidAudio):
            prober(path)
        with pytest.raises(InvalidAudio):
            decoder.decode(path, sound.empty())
    finally:
        prober.close()
        decoder.close()
    assert _peak_bytes() - before < 200 << 20


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_a_child_keeps_its_own_descriptors_only_wherever_they_lie() -> None:
    # As the zygote's child does it: among others', before, between and behind its own.
    code = """
import os
from transcription.media.zygote import _close_all_but

def is_open(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True

others = [os.open("/dev/null", os.O_RDONLY) for _ in range(8)]
kept = {others[2], others[5], os.dup2(1, 40)}
_close_all_but(kept, 50)
os.write(40, repr({number for number in range(64) if is_open(number)} == kept).encode())
os._exit(0)
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, timeout=60)
    assert ran.stdout == b"True"
