"""A key's life: when it ends, where it may be used from, when it was used last, and how another takes its place."""

import json
import time
from pathlib import Path

import pytest
from redis import Redis
from typer.testing import CliRunner

from murmur.cli.main import app as cli
from tests.platform import eventually_async
from tests.secured_api import key_store, secured, settings_for
from transcription.access import Scope

pytestmark = pytest.mark.anyio
READ = frozenset({Scope.READ})


def header(secret: str) -> dict[str, str]:
    return {"X-API-Key": secret}


async def test_an_expired_key_is_no_key(redis_url: str, tmp_path: Path) -> None:
    with key_store(redis_url) as keys:
        _, over = keys.create(name="a", tenant="acme", scopes=READ, tier="", expires_at=time.time() - 1)
        _, good = keys.create(name="b", tenant="acme", scopes=READ, tier="", expires_at=time.time() + 600)
    async with secured(settings_for(redis_url, tmp_path)) as api:
        assert (await api.http.get("/v1/jobs", headers=header(over))).status_code == 401
        assert (await api.http.get("/v1/jobs", headers=header(good))).status_code == 200


async def test_a_key_is_taken_from_its_networks_only(redis_url: str, tmp_path: Path) -> None:
    with key_store(redis_url) as keys:
        _, near = keys.create(name="a", tenant="acme", scopes=READ, tier="", networks="192.0.2.1/32,10.0.0.0/24")
        _, far = keys.create(name="b", tenant="acme", scopes=READ, tier="", networks="192.0.2.0/24,2001:db8::/32")
    async with secured(settings_for(redis_url, tmp_path)) as api:
        assert (await api.http.get("/v1/jobs", headers=header(near))).status_code == 200
        refused = await api.http.get("/v1/jobs", headers=header(far))
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


async def test_the_last_use_of_a_key_is_known_and_never_brings_a_revoked_one_back(
    redis_url: str, redis_server: Redis, tmp_path: Path
) -> None:
    with key_store(redis_url) as keys:
        key, secret = keys.create(name="a", tenant="acme", scopes=READ, tier="")
        assert keys.list()[0].used_at is None
        async with secured(settings_for(redis_url, tmp_path)) as api:
            before = time.time()
            assert (await api.http.get("/v1/jobs", headers=header(secret))).status_code == 200
            used_at = keys.list()[0].used_at
            assert used_at is not None
            assert before - 1 < used_at < time.time() + 1
            await api.http.get("/v1/jobs", headers=header(secret))
            assert keys.list()[0].used_at == used_at  # once a minute
            keys.revoke(key.id)
            assert (await api.http.get("/v1/jobs", headers=header(secret))).status_code == 401
    assert redis_server.keys("murmur:key*") == []


async def test_a_rotated_key_stays_good_for_the_overlap_and_no_longer_than_it_was(
    redis_url: str, tmp_path: Path
) -> None:
    with key_store(redis_url) as keys:
        old, first = keys.create(name="a", tenant="acme", scopes=READ, tier="free", networks="10.0.0.0/8")
        new, second = keys.rotate(old.id, overlap_s=600, expires_at=None)
        assert (new.name, new.tenant, new.scopes, new.tier, new.networks) == ("a", "acme", READ, "free", "10.0.0.0/8")
        by_id = {key.id: key for key in keys.list()}
        assert abs(by_id[old.id].expires_at - time.time() - 600) < 60
        assert by_id[new.id].expires_at is None
        async with secured(settings_for(redis_url, tmp_path)) as api:
            for secret in (first, second):
                assert (await api.http.get("/v1/jobs", headers=header(secret))).status_code == 200
            assert keys.rotate(new.id, overlap_s=0, expires_at=None) is not None
            assert (await api.http.get("/v1/jobs", headers=header(second))).status_code == 401
        assert keys.rotate(new.id, overlap_s=60, expires_at=None) is None  # it has expired
        assert keys.rotate("no", overlap_s=60, expires_at=None) is None
        short, _ = keys.create(name="b", tenant="acme", scopes=READ, tier="", expires_at=time.time() + 60)
        keys.rotate(short.id, overlap_s=6000, expires_at=None)
        assert {key.id: key for key in keys.list()}[short.id].expires_at < time.time() + 61


def test_the_command_line_makes_keys_that_end_and_exchanges_them(
    redis_url: str, redis_server: Redis, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MURMUR_LEDGER__URL", redis_url)
    monkeypatch.setenv("MURMUR_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "250")
    run = CliRunner().invoke
    made = run(cli, ["keys", "create", "Ada", "--expires", "90d", "--network", "10.0.0.0/8", "--network", "fd00::/8"])
    assert made.stdout.startswith("mur_")
    (key_id,) = redis_server.hkeys("murmur:keys")
    listed = run(cli, ["keys", "list"]).stdout
    assert "10.0.0.0/8,fd00::/8" in listed
    rotated = run(cli, ["keys", "rotate", key_id, "--overlap", "2h"])
    assert rotated.stdout.startswith("mur_")
    assert rotated.stdout != made.stdout
    assert len(redis_server.hkeys("murmur:keys")) == 2
    with key_store(redis_url) as keys:
        (old,) = [key for key in keys.list() if key.id == key_id]
        assert old.expires_at == pytest.approx(time.time() + 2 * 3600, abs=120)
    for wrong in (
        ["create", "x", "--expires", "soon"],
        ["create", "x", "--network", "10.0.0.1/8"],
        ["rotate", key_id, "--overlap", "-1d"],
        ["rotate", "no"],
    ):
        assert run(cli, ["keys", *wrong]).exit_code != 0


async def test_what_is_done_to_keys_by_hand_stands_in_the_audit_log(redis_url: str, tmp_path: Path) -> None:
    log = tmp_path / "audit.jsonl"
    with key_store(redis_url, by="ada@desk") as keys:
        key, _ = keys.create(name="a", tenant="acme", scopes=READ, tier="")
        new, secret = keys.rotate(key.id, overlap_s=60, expires_at=None)
        async with secured(settings_for(redis_url, tmp_path / "data", audit_log=str(log))):
            keys.revoke(new.id)
            await eventually_async(lambda: log.exists() and log.read_text().count('"key revoked"') == 1)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(line["action"], line["tenant"], line["key"]) for line in lines] == [
        ("key created", "acme", key.id), ("key rotated", "acme", new.id), ("key revoked", "acme", new.id),
    ]  # fmt: skip
    assert lines[1]["before"] == key.id
    assert all(line["by"] == "ada@desk" and line["scopes"] == "read" for line in lines)
    assert secret not in log.read_text()
