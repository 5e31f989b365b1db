"""`deploy/upgrade.sh` as an operator runs it, with a `docker` in its place that says what Compose would say."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Two API replicas run before, four after the roll has begun. Everything that changes something is written down.
DOCKER = """#!/bin/sh
last() { for word in "$@"; do :; done; echo "$word"; }
case "$*" in
    "compose config --services") printf '%s\\n' nginx api worker redis redis-cache prometheus ;;
    "compose config --hash "*) echo "$4 files" ;;
    "compose ps -q api") echo a1; echo a2; if grep -qs scale "$FAKE/calls"; then echo a3; echo a4; fi ;;
    "compose ps -q nginx")
        if [ -n "$REPLACED" ] && grep -qs "up -d --no-build$" "$FAKE/calls"; then echo n2; else echo n1; fi ;;
    "compose ps -q "*) echo "$4-1" ;;
    *config-hash*) if [ "$(last "$@")" = "$DIFFERS" ]; then echo other; else echo files; fi ;;
    *Config.Image*) last "$@" ;;
    inspect*Health*) echo healthy ;;
    inspect*.Image*) if [ "$(last "$@")" = "$OLD_IMAGE" ]; then echo old; else echo new; fi ;;
    "image inspect"*) echo new ;;
    *) echo "$*" >>"$FAKE/calls"; [ -z "$FAIL" ] || ! expr "$*" : ".*$FAIL" >/dev/null ;;
esac
"""
BUILD, ROLL, REST = (
    "compose build",
    "compose up -d --no-recreate --no-build --scale api=4 api",
    "compose up -d --no-build",
)
STOPPED = ["stop a1 a2", "rm a1 a2"]
TRIED = "compose exec -T nginx sh /etc/nginx/murmur/start.sh -t"
RELOADED = ["compose kill -s HUP nginx", "compose kill -s HUP prometheus"]


def upgrade(world: Path, *words: str, **told: str) -> tuple[int, str, list[str]]:
    """The script's status, what it says, and what it had done."""
    (world / "docker").write_text(DOCKER)
    (world / "docker").chmod(0o755)
    environment = {"PATH": f"{world}:/usr/bin:/bin", "FAKE": str(world)} | dict.fromkeys(
        ("DIFFERS", "OLD_IMAGE", "FAIL", "REPLACED"), ""
    )
    ran = subprocess.run(
        ["/bin/sh", str(ROOT / "deploy/upgrade.sh"), *words],
        env=environment | told, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    calls = world / "calls"
    return ran.returncode, ran.stdout + ran.stderr, calls.read_text().splitlines() if calls.exists() else []


def test_an_upgrade_replaces_the_api_first_then_the_rest_and_has_configuration_read_again(tmp_path: Path) -> None:
    assert upgrade(tmp_path)[::2] == (0, [BUILD, ROLL, *STOPPED, REST, TRIED, *RELOADED])


def test_images_that_are_there_need_no_build(tmp_path: Path) -> None:
    assert upgrade(tmp_path, "--no-build")[2][0] == ROLL


@pytest.mark.parametrize(
    ("what", "container", "service"),
    [("DIFFERS", "n1", "nginx"), ("OLD_IMAGE", "redis-1", "redis"), ("DIFFERS", "redis-cache-1", "redis-cache")],
)
def test_what_would_interrupt_the_service_is_refused_before_anything_is_done(
    tmp_path: Path, what: str, container: str, service: str
) -> None:
    status, said, done = upgrade(tmp_path, **{what: container})
    assert (status, done) == (3, [])
    assert f"requests fail meanwhile: {service}." in said
    assert upgrade(tmp_path, "--gap", **{what: container})[0] == 0


def test_an_nginx_that_was_replaced_is_not_told_again(tmp_path: Path) -> None:
    status, _, done = upgrade(tmp_path, "--gap", DIFFERS="n1", REPLACED="yes")
    assert status == 0
    assert TRIED not in done
    assert done[-1] == RELOADED[-1]


@pytest.mark.parametrize(("fails", "last"), [("build", BUILD), ("--scale api", ROLL), ("start.sh -t", TRIED)])
def test_an_upgrade_ends_at_the_first_step_that_fails(tmp_path: Path, fails: str, last: str) -> None:
    status, said, done = upgrade(tmp_path, FAIL=fails)
    assert status != 0
    assert done[-1] == last
    assert "upgraded" not in said


def test_a_word_that_it_does_not_know_is_refused(tmp_path: Path) -> None:
    assert upgrade(tmp_path, "--force")[::2] == (2, [])
