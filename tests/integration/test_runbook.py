"""
The runbook's commands, run as they stand, against an API that requires keys.

A `docker` in Docker's place runs what an operator would run inside a container: `murmur`, `redis-cli` and Python here,
on the real API and ledger. What only Docker or the host can say (`logs`, `ps`, `stats`, `df`) isn't run here.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.compose_files import SERVICES, mounts
from tests.live_api import api_settings
from transcription.settings import Security, Settings
from transcription.settings.security import STRICT

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text("utf-8")
DOCKER = """#!/bin/bash
[[ "$1 $2" == "compose exec" ]] || {{ echo "not here: $*" >&2; exit 9; }}
shift 2
while [[ $1 == -* ]]; do
    if [[ $1 == -e ]]; then export "${{2/http:\\/\\/127.0.0.1:8000/{api}}}"; shift; fi
    shift
done
service=$1; shift
case $1 in
    murmur) shift; exec {python} -m murmur "$@" ;;
    python) shift; exec {python} "${{@//http:\\/\\/127.0.0.1:8000/{api}}}" ;;
    redis-cli) shift; exec redis-cli -u {ledger} "$@" ;;
    *) echo "not here: $*" >&2; exit 9 ;;
esac
"""
PRELUDE = re.search(r"```bash\n(.*?)```", RUNBOOK, re.DOTALL)[1]  # type: ignore[index]
COMMANDS = list(
    dict.fromkeys(
        line for block in re.findall(r"```sh\n(.*?)```", RUNBOOK, re.DOTALL) for line in block.strip().splitlines()
    )
)
INLINE = list(
    dict.fromkeys(re.findall(r"`((?:ask|redis-cli|docker compose exec \w+ (?:murmur|redis-cli)) [^`]+)`", RUNBOOK))
)
"""Those that the explanations name."""
ASKS = r"ask |docker compose exec (-T )?(api|redis) (murmur|python|redis-cli)"
HERE = [line for line in (*COMMANDS, *INLINE) if re.match(ASKS, line)]


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    strict = api_settings(redis_url, tmp_path)
    return strict.model_copy(update={"security": Security(**STRICT["security"])})


@pytest.fixture
def shell(settings: Settings, api: httpx.Client, redis_url: str, tmp_path: Path) -> Path:
    """A directory with the `docker`."""
    api_url = str(api.base_url).rstrip("/").replace("/", "\\/")
    docker = tmp_path / "docker"
    docker.write_text(DOCKER.format(api=api_url, python=sys.executable, ledger=redis_url))
    docker.chmod(0o755)
    return tmp_path


def run(shell: Path, redis_url: str, *lines: str) -> subprocess.CompletedProcess[str]:
    told = {
        "PATH": f"{shell}:/usr/local/bin:/usr/bin:/bin",
        "MURMUR_LEDGER__URL": redis_url,
        "MURMUR_DATA_DIR": str(shell),
        "HOME": str(shell),
        "PYTHONPATH": str(ROOT),
    }
    script = "set -o pipefail\n" + PRELUDE + "\n".join(lines)
    return subprocess.run(
        ["bash", "-c", script], cwd=shell, env=told, capture_output=True, text=True, check=False, timeout=280
    )


def test_the_commands_that_ask_the_platform_are_run_here_and_the_others_ask_docker_or_the_host() -> None:
    assert len(HERE) > 15
    assert len(INLINE) > 5
    assert [line for line in INLINE if line not in HERE] == []
    outside = (
        r"docker (compose (--profile backup )?(ps|logs|run)|stats|system|inspect"
        r"|compose exec [\w-]+ (env|df|du|ls|sh|wget)) ?|free "
    )
    assert [line for line in COMMANDS if line not in HERE and not re.match(outside, line)] == []


def test_what_is_measured_on_a_disk_is_asked_where_its_volume_is() -> None:
    volumes = {path for service in SERVICES.values() for path in mounts(service)}
    asked = [line.split()[3:] for line in COMMANDS if re.match(r"docker compose exec [\w-]+ d[fu] ", line)]
    assert len(asked) > 3
    assert [
        (service, path)
        for service, *measure in asked
        for path in measure
        if path in volumes and path not in mounts(SERVICES[service])
    ] == []


@pytest.mark.skipif(not shutil.which("redis-check-aof"), reason="needs redis-check-aof")
def test_what_cuts_the_ledger_s_damaged_file_off_finds_it_where_it_lies(tmp_path: Path) -> None:
    """In the container: this machine, where the commands are typed, has no such directory."""
    whole = b"*3\r\n$3\r\nset\r\n$1\r\na\r\n$1\r\n1\r\n"
    files = tmp_path / "redis" / "appendonlydir"
    files.mkdir(parents=True)
    (files / "appendonly.aof.manifest").write_text("file appendonly.aof.1.incr.aof seq 1 type i\n")
    (files / "appendonly.aof.1.incr.aof").write_bytes(whole + whole[:-4])
    docker = tmp_path / "docker"
    docker.write_text(
        '#!/bin/bash\necho "$2" >>"$0.asked"; [[ $2 == run ]] || exit 0\n'
        f'shift 4; exec "${{@//\\/data/{files.parent}}}"\n'
    )
    docker.chmod(0o755)
    section = RUNBOOK.partition("\n## LedgerDown\n")[2].partition("\n## ")[0]
    typed = re.findall(r"`(docker compose (?:stop|run|start) [^`]*redis[^`]*)`", section)
    told = {"PATH": f"{tmp_path}:/usr/local/bin:/usr/bin:/bin"}
    done = subprocess.run(
        ["bash", "-ec", "\n".join(typed)],
        env=told,
        input="y\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (files / "appendonly.aof.1.incr.aof").read_bytes() == whole
    assert (tmp_path / "docker.asked").read_text().split() == ["stop", "run", "start"]


@pytest.mark.skipif(not shutil.which("jq") or not shutil.which("redis-cli"), reason="needs jq and redis-cli")
def test_every_command_of_the_runbook_is_answered_where_keys_are_required(shell: Path, redis_url: str) -> None:
    """All in one shell, as an operator has it."""
    ran = run(shell, redis_url, *(f'{line}\necho "status $?"' for line in HERE))
    found = re.findall(r"^status (\d+)$", ran.stdout, re.MULTILINE)
    assert len(found) == len(HERE), ran.stderr

    def wrong(line: str, status: str) -> bool:
        # `check` says by its status that no worker lives here, `grep` that nothing is to be shown; no letter is dead.
        return status != "0" and not (
            status == "1" and (line == "ask check" or "grep" in line or re.search(r"COMPUTATION|JOB", line))
        )

    assert [(line, status) for line, status in zip(HERE, found, strict=True) if wrong(line, status)] == [], ran.stderr
    assert ran.stderr.count("no dead letter") == sum("COMPUTATION" in line for line in HERE)
    assert ran.stderr.count("no job 'JOB'") == sum("JOB" in line for line in HERE)
    said = ran.stdout + ran.stderr
    assert not re.search(r"not here|NOAUTH|ERR |\bkey\b.*(missing|needed|required|may not)|unauth|forbidden", said), (
        said
    )
