"""docker-compose.secrets.yml: each service has the files of the passwords that it needs, and no password elsewhere."""

from pathlib import Path

import pytest

from tests.compose_files import ROOT, SERVICES, stack
from transcription.settings import read_settings
from transcription.settings.ledger import Ledger, with_password

FILE = "docker-compose.secrets.yml"
NEEDS = {
    "nginx": {"operator_password"},
    "api": {"redis_password"},
    "worker": {"redis_password"},
    "backup": {"redis_password"},
    "redis": {"redis_password", "flower_password"},
    "redis-cache": {"redis_password"},
    "flower": {"flower_password"},
    "grafana": {"grafana_password"},
}


def test_a_service_gets_the_passwords_that_it_needs_and_no_other() -> None:
    merged = stack(FILE)
    found = {name: set(one["secrets"]) for name, one in merged["services"].items() if one.get("secrets")}
    assert found == NEEDS
    assert merged["secrets"] == {
        f"{name}_password": {"file": f"./secrets/{name}_password"}
        for name in ("redis", "flower", "operator", "grafana")
    }
    assert set(merged["services"]) == set(SERVICES)


def test_no_container_shows_a_password() -> None:
    told = {
        f"{name}: {variable}": value
        for name, service in stack(FILE)["services"].items()
        for variable, value in service.get("environment", {}).items()
        if "PASSWORD" in variable or variable in ("REDISCLI_AUTH", "CELERY_BROKER_URL")
    }
    assert {value for value in told.values() if not value.startswith("/run/secrets/")} == {""}
    assert {name.partition(": ")[0] for name in told} == set(NEEDS) - {"redis", "redis-cache", "flower"}


@pytest.mark.parametrize("name", ["api", "worker", "backup"])
def test_the_ledger_is_asked_with_the_password_of_the_file(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "redis_password").write_text("hu/sh\n")
    for variable, value in stack(FILE)["services"][name]["environment"].items():
        if variable.startswith("MURMUR_"):
            monkeypatch.setenv(variable, str(value).replace("/run/secrets", str(tmp_path)))
    told = read_settings().ledger
    assert told.url.get_secret_value() == told.broker() == "redis://:hu%2Fsh@redis:6379/0"
    assert (told.cache() == "redis://:hu%2Fsh@redis-cache:6379/0") is (name == "api")


def test_a_ledger_elsewhere_takes_the_password_of_the_file_too() -> None:
    own = {"MURMUR_LEDGER__URL": "rediss://u@elsewhere:6379/0"}
    services = stack(FILE, "docker-compose.redis.yml", environment=own)["services"]
    assert "redis" not in services
    worker = services["worker"]["environment"]
    assert worker["MURMUR_LEDGER__URL"] == own["MURMUR_LEDGER__URL"]
    assert worker["MURMUR_LEDGER__PASSWORD_FILE"] == "/run/secrets/redis_password"


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("redis://host:6379/0", "redis://:p%40%3A%2F@host:6379/0"),
        ("redis://:@host:6379/0", "redis://:p%40%3A%2F@host:6379/0"),
        ("rediss://user@host/1?x=y", "rediss://user:p%40%3A%2F@host/1?x=y"),
        ("redis://[::1]:6379", "redis://:p%40%3A%2F@[::1]:6379"),
        ("redis://:own@host", "redis://:own@host"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
    ],
)
def test_a_password_goes_into_urls_that_hold_none(url: str, whole: str) -> None:
    assert with_password(url, "p@:/") == whole
    assert Ledger(url=url, password="p@:/", cache_url=url).cache() == whole
    assert Ledger(url=url).url.get_secret_value() == url


def test_secrets_are_not_committed() -> None:
    assert "/secrets/" in (ROOT / ".gitignore").read_text("utf-8").splitlines()
