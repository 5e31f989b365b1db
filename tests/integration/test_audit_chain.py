"""The audit log's lines hang together: whoever changes, takes out, puts in or cuts off is found."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from murmur.cli.main import app as cli
from tests.secured_api import WAV, bearer, secured, settings_for

pytestmark = pytest.mark.anyio
Damage = Callable[[list[str]], list[str]]


async def written(redis_url: str, root: Path, *, processes: int = 1, submits: int = 4) -> Path:
    log = root / "audit.jsonl"
    key = bearer(redis_url, "acme")
    for _ in range(processes):
        async with secured(settings_for(redis_url, root / "data", audit_log=str(log))) as api:
            for _ in range(submits):
                await api.http.post("/v1/jobs", files={"file": ("a.wav", WAV)}, headers=key)
                await api.http.get("/v1/jobs", headers=key)
    return log


def verify(redis_url: str, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["audit", "verify", "--ledger", redis_url, *arguments])
    return result.exit_code, result.output


async def test_a_log_of_several_processes_is_as_it_was_written_also_in_two_files(
    redis_url: str, tmp_path: Path
) -> None:
    log = await written(redis_url, tmp_path, processes=2)
    status, said = verify(redis_url, str(log))
    assert status == 0, said
    assert "16 lines in 2 chains" in said
    lines = log.read_text().splitlines(keepends=True)
    (tmp_path / "1").write_text("".join(lines[:5]))
    (tmp_path / "2").write_text("".join(lines[5:]))
    assert verify(redis_url, str(tmp_path / "1"), str(tmp_path / "2"))[0] == 0


def changed(lines: list[str]) -> list[str]:
    return [lines[0].replace("acme", "umbrella"), *lines[1:]]


def made_up(lines: list[str]) -> list[str]:
    """A line with a hash that fits it."""
    import hashlib

    entry = {**json.loads(lines[2]), "action": "nothing"}
    del entry["hash"]
    body = json.dumps(entry, separators=(",", ":"))
    return [*lines[:2], f'{body[:-1]},"hash":"{hashlib.sha256(body.encode()).hexdigest()}"}}\n', *lines[3:]]


DAMAGES: dict[str, Damage] = {
    "a word is changed": changed,
    "a line is replaced by one whose hash fits": made_up,
    "a line is taken out": lambda lines: lines[:3] + lines[4:],
    "the beginning is taken out": lambda lines: lines[2:],
    "two lines change places": lambda lines: [lines[1], lines[0], *lines[2:]],
    "a line is put in twice": lambda lines: [*lines[:3], lines[2], *lines[3:]],
    "a line of somebody else is put in": lambda lines: [*lines[:3], '{"action":"read"}\n', *lines[3:]],
    "the end is cut off": lambda lines: lines[:-1],
    "all but a line is cut off": lambda lines: lines[:1],
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_log_that_somebody_has_changed_is_found(redis_url: str, tmp_path: Path, damage: str) -> None:
    log = await written(redis_url, tmp_path, submits=3)
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(DAMAGES[damage](lines)))
    status, said = verify(redis_url, str(log))
    assert status == 1, said
    status, said = verify(redis_url, str(log), "--json")
    assert (status, bool(json.loads(said)["problems"])) == (1, True)  # programs look at the status first


async def test_a_chain_that_is_gone_altogether_is_missed(redis_url: str, tmp_path: Path) -> None:
    log = await written(redis_url, tmp_path, processes=2, submits=2)
    lines = log.read_text().splitlines(keepends=True)
    first = json.loads(lines[0])["chain"]
    log.write_text("".join(line for line in lines if json.loads(line)["chain"] == first))
    assert verify(redis_url, str(log))[0] == 1
    assert verify(redis_url, "--alone", str(log))[0] == 0  # what only the ledger knows
