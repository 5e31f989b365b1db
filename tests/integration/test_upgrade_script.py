"""`deploy/upgrade.sh` as an operator runs it, with a `docker` in its place that says what Compose would say."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Two API replicas run before, four after the roll has begun. Everything that changes something is written down.
DOCKER = """#!/bin/sh
last() { for word in "$@"; do :; done; echo "$word"; }
case "$*" in
    "compose config --services") printf '%s\\n' nginx $BALANCER api worker redis redis-cache prometheus alertmanager ;;
    "compose run "*"schema hold"*) echo "$*" >>"$FAKE/calls"; echo "${STEP:-same}"; exit "${HELD:-0}" ;;
    "compose config --hash "*) echo "$4 files" ;;
    "compose ps -q api") echo a1; echo a2; if grep -qs scale "$FAKE/calls"; then echo a3; echo a4; fi ;;
    "compose ps -q nginx")
        if [ -n "$REPLACED" ] && grep -qs "up -d --no-build$" "$FAKE/calls"; then echo n2; exit; fi
        grep -qs "^rm n1" "$FAKE/calls" || echo n1
        if grep -qs "scale nginx" "$FAKE/calls"; then echo n2; fi ;;
    "compose ps -q "*) echo "$4-1" ;;
    "compose config --images") for part in api worker; do echo "murmuration-$part:$MURMUR_VERSION"; done; echo nginx ;;
    *config-hash*) if [ "$(last "$@")" = "$DIFFERS" ]; then echo other; else echo files; fi ;;
    *Config.Image*a1) echo "murmuration-api:$RUNS" ;;
    *Config.Image*) last "$@" ;;
    inspect*NetworkSettings*" a1 a2") printf 'x_back 10.0.0.9\nx_front 10.0.1.1\nx_front 10.0.1.2\n' ;;
    inspect*NetworkSettings*) printf 'x_back 10.0.0.9\nx_front 10.0.1.3\nx_front 10.0.1.4\n' ;;
    "exec a"*"python -IS"*murmur_submits_in_flight*)
        echo "uploads $2" >>"$FAKE/calls"
        if [ "$(grep -c "^uploads $2" "$FAKE/calls")" -gt "${UPLOADS:-0}" ]; then echo 0.0; else echo 1.0; fi ;;
    inspect*Health*) echo healthy ;;
    inspect*.Image*) if [ "$(last "$@")" = "$OLD_IMAGE" ]; then echo old; else echo new; fi ;;
    *ledger.schema*murmuration-api:old) echo "$OLD_SCHEMA" ;;
    *ledger.schema*) echo 4 ;;
    "image inspect"*) [ "$(last "$@")" != "$GONE" ] && echo new ;;
    "compose exec -T api murmur backup create -") echo "$*" >>"$FAKE/calls"; echo a backup ;;
    *) echo "$*" >>"$FAKE/calls"; [ -z "$FAIL" ] || ! expr "$*" : ".*$FAIL" >/dev/null ;;
esac
"""
BUILD, HOLD, ROLL, REST = (
    "compose build",
    "compose run --rm -T --no-deps api murmur schema hold",
    "compose up -d --no-recreate --no-build --scale api=4 api",
    "compose up -d --no-build",
)
ASKED = "exec -e EDGE_ONLY={} -e EDGE_ELSE={} -e EDGE_ONLY_UPLOADS={} n1 sh /etc/nginx/murmur/start.sh apply"
OLD, NEW = "10.0.1.1:8000 10.0.1.2:8000 ", "10.0.1.3:8000 10.0.1.4:8000 "
STOPPED = [ASKED.format(NEW, "", ""), "stop a1 a2", "rm a1 a2", ASKED.format("", "", "")]
TRIED = "exec n1 sh /etc/nginx/murmur/start.sh apply"
WAITS = ("test -e /tmp/murmur-waits", "touch /tmp/murmur-listen")
RELOADED = ["compose kill -s HUP prometheus", "compose kill -s HUP alertmanager"]


SAVED = "compose exec -T api murmur backup create -"
UP_TO_DATE = {"RUNS": "0.1.0", "OLD_SCHEMA": "4"}


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A directory with a `docker`, and a project of the scripts alone."""
    shutil.copytree(ROOT / "deploy", tmp_path / "project/deploy")
    (tmp_path / "project/murmur").mkdir()
    (tmp_path / "project/murmur/version.py").write_text('__version__ = "0.1.0"\n')
    (tmp_path / "docker").write_text(DOCKER)
    (tmp_path / "sleep").write_text("#!/bin/sh\n")
    for name in ("docker", "sleep"):
        (tmp_path / name).chmod(0o755)
    return tmp_path


def upgrade(world: Path, *words: str, **told: str) -> tuple[int, str, list[str]]:
    """The script's status, what it says, and what it had done."""
    known = ("DIFFERS", "OLD_IMAGE", "FAIL", "REPLACED", "GONE", "BALANCER")
    environment = {"PATH": f"{world}:/usr/bin:/bin", "FAKE": str(world)} | dict.fromkeys(known, "") | UP_TO_DATE
    ran = subprocess.run(
        ["/bin/sh", str(world / "project/deploy/upgrade.sh"), *words],
        env=environment | told, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    calls = world / "calls"
    return ran.returncode, ran.stdout + ran.stderr, calls.read_text().splitlines() if calls.exists() else []


def git(world: Path, *words: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    return subprocess.run(
        ["git", "-C", str(world / "project"), *who, *words], check=True, capture_output=True, text=True
    ).stdout.strip()


def kept(world: Path) -> list[str]:
    """What the file of variables says of versions."""
    return [line for line in (world / "project/.env").read_text().splitlines() if line.startswith("MURMUR_VERSION")]


def test_an_upgrade_replaces_the_api_first_then_the_rest_and_has_configuration_read_again(world: Path) -> None:
    assert upgrade(world)[::2] == (0, [BUILD, HOLD, ROLL, *STOPPED, REST, TRIED, *RELOADED])


def test_images_that_are_there_need_no_build(world: Path) -> None:
    assert upgrade(world, "--no-build")[2][:2] == [HOLD, ROLL]


@pytest.mark.parametrize(
    ("what", "container", "service"),
    [("DIFFERS", "n1", "nginx"), ("OLD_IMAGE", "redis-1", "redis"), ("DIFFERS", "redis-cache-1", "redis-cache")],
)
def test_what_would_interrupt_the_service_is_refused_before_anything_is_done(
    world: Path, what: str, container: str, service: str
) -> None:
    status, said, done = upgrade(world, **{what: container})
    assert (status, done) == (3, [])
    assert f"requests fail meanwhile: {service}." in said
    assert upgrade(world, "--gap", **{what: container})[0] == 0


def test_an_nginx_that_was_replaced_is_not_told_again(world: Path) -> None:
    status, _, done = upgrade(world, "--gap", DIFFERS="n1", REPLACED="yes")
    assert status == 0
    assert TRIED not in done
    assert done[-1] == RELOADED[-1]


@pytest.mark.parametrize("change", ["DIFFERS", "OLD_IMAGE"])
def test_behind_a_balancer_another_nginx_takes_over_without_a_gap(world: Path, change: str) -> None:
    status, _, done = upgrade(world, BALANCER="balancer", **{change: "n1"})
    rolled = ["compose up -d --no-recreate --no-build --scale nginx=2 nginx", "stop n1", "rm n1"]
    built = f"{BUILD} nginx api worker redis redis-cache prometheus alertmanager"  # the balancer stays as it is
    assert (status, done) == (0, [built, HOLD, ROLL, *STOPPED, *rolled, REST, *RELOADED])


def test_another_balancer_is_a_gap(world: Path) -> None:
    status, said, done = upgrade(world, BALANCER="balancer", DIFFERS="balancer-1", OLD_IMAGE="n1")
    assert (status, done, "requests fail meanwhile: balancer." in said) == (3, [], True)


@pytest.mark.parametrize(("fails", "last"), [("build", BUILD), ("--scale api", ROLL), ("exec n1 sh", TRIED)])
def test_an_upgrade_ends_at_the_first_step_that_fails(world: Path, fails: str, last: str) -> None:
    status, said, done = upgrade(world, FAIL=fails)
    assert status != 0
    assert done[-1] == last
    assert "upgraded" not in said


def test_a_step_of_the_ledger_is_done_when_the_old_release_takes_nothing_more(world: Path) -> None:
    status, _, done = upgrade(world, STEP="held")
    assert status == 0
    begun = done.index(ROLL)
    waits, listen = ([f"exec {new} {what}" for new in ("a3", "a4")] for what in WAITS)
    uploads = [ASKED.format(OLD, NEW, NEW), "uploads a1", "uploads a2"]
    before = [*waits, ASKED.format(OLD, NEW, ""), *listen, *uploads, STOPPED[0]]
    assert done[begun + 1 : begun + 1 + len(before)] == before
    # The old ones are told first; whoever waits for their end writes last.
    rest = done[begun + 1 + len(before) :]
    assert set(rest[:2]) == {STOPPED[1], "exec a3 murmur schema release"}
    assert rest[2:5] == [*STOPPED[2:], REST]


@pytest.mark.parametrize(("uploads", "looks"), [("3", 4), ("1000", 21)])
def test_a_step_of_the_ledger_waits_for_uploads_under_way_and_not_for_ever(
    world: Path, uploads: str, looks: int
) -> None:
    status, _, done = upgrade(world, STEP="held", UPLOADS=uploads)
    assert status == 0
    assert done.count("uploads a1") == done.count("uploads a2") == looks
    last = len(done) - done[::-1].index("uploads a2") - 1
    assert done[last + 1] == ASKED.format(NEW, "", "")
    assert done.index("exec a3 murmur schema release") > last


def test_a_step_of_the_ledger_is_given_up_with_new_containers_that_do_not_start(world: Path) -> None:
    status, said, done = upgrade(world, STEP="held", FAIL="murmur-waits", ROLL_PATIENCE_S="1")
    assert (status, "the old containers stay" in said) == (1, True)
    assert done[-3:] == ["rm -f a3", "rm -f a4", "compose run --rm -T --no-deps api murmur schema cancel"]
    assert not any("release" in one or one.startswith("stop") for one in done)


def test_an_older_release_than_the_ledgers_is_refused_before_anything_is_replaced(world: Path) -> None:
    assert upgrade(world, HELD="1")[::2] == (1, [BUILD, HOLD])


def test_a_release_that_knows_no_steps_is_rolled_as_before(world: Path) -> None:
    assert upgrade(world, HELD="2")[::2] == (0, [BUILD, HOLD, ROLL, *STOPPED, REST, TRIED, *RELOADED])


def test_a_word_that_it_does_not_know_is_refused(world: Path) -> None:
    assert upgrade(world, "--force")[::2] == (2, [])


# ---------------------------------------------------------------- versions


def test_images_are_tagged_by_version_and_commit_and_the_tag_is_kept(world: Path) -> None:
    git(world, "init", "-q")
    git(world, "add", "-A")
    git(world, "commit", "-qm", "one")
    tag = f"0.1.0-{git(world, 'rev-parse', 'HEAD')[:12]}"
    (world / "project/.env").write_text("MURMUR_REDIS_PASSWORD=hush\nMURMUR_VERSION=old\n")
    (world / "project/.env").chmod(0o600)
    status, said, _ = upgrade(world, RUNS="old")
    assert (status, f"{tag} runs" in said) == (0, True)
    assert kept(world) == ["MURMUR_VERSION_BEFORE=old", f"MURMUR_VERSION={tag}"]
    assert "MURMUR_REDIS_PASSWORD=hush" in (world / "project/.env").read_text()
    assert (world / "project/.env").stat().st_mode & 0o777 == 0o600
    # What isn't the commit's is another version.
    (world / "project/murmur/version.py").write_text('__version__ = "0.1.0"  # changed\n__version__ = "0.1.0"\n')
    upgrade(world, RUNS=tag)
    assert kept(world)[1].startswith(f"MURMUR_VERSION={tag}-")
    assert kept(world)[0] == f"MURMUR_VERSION_BEFORE={tag}"


def test_an_upgrade_to_what_runs_leaves_the_version_before_as_it_was(world: Path) -> None:
    (world / "project/.env").write_text("MURMUR_VERSION=0.1.0\nMURMUR_VERSION_BEFORE=old\n")
    assert upgrade(world)[0] == 0
    assert sorted(kept(world)) == ["MURMUR_VERSION=0.1.0", "MURMUR_VERSION_BEFORE=old"]


@pytest.mark.parametrize("fails", ["build", "--scale api"])
def test_a_version_that_does_not_become_healthy_is_not_kept(world: Path, fails: str) -> None:
    (world / "project/.env").write_text("MURMUR_VERSION=old\n")
    assert upgrade(world, FAIL=fails, RUNS="old")[0] != 0
    assert kept(world) == ["MURMUR_VERSION=old"]


def test_going_back_takes_the_version_before_without_a_build_and_can_be_taken_back(world: Path) -> None:
    (world / "project/.env").write_text("MURMUR_VERSION=0.1.0\nMURMUR_VERSION_BEFORE=old\n")
    status, _, done = upgrade(world, "--back")
    assert (status, done) == (0, [HOLD, ROLL, *STOPPED, REST, TRIED, *RELOADED])
    assert sorted(kept(world)) == ["MURMUR_VERSION=old", "MURMUR_VERSION_BEFORE=0.1.0"]


@pytest.mark.parametrize(
    ("file", "told", "why"),
    [
        ("", {}, "nothing to go back to"),
        ("MURMUR_VERSION_BEFORE=old\n", {"GONE": "murmuration-worker:old"}, "no image murmuration-worker:old"),
        ("MURMUR_VERSION_BEFORE=old\n", {"OLD_SCHEMA": "3"}, "deploy/upgrade.sh --back --restore BACKUP"),
        ("MURMUR_VERSION_BEFORE=old\n", {"OLD_SCHEMA": ""}, "up to schema version unknown"),
    ],
)
def test_going_back_to_what_can_not_serve_is_refused_before_anything_is_done(
    world: Path, file: str, told: dict[str, str], why: str
) -> None:
    (world / "project/.env").write_text(file)
    status, said, done = upgrade(world, "--back", **told)
    assert (status, done, why in said) == (3, [], True)
    assert (world / "project/.env").read_text() == file


def test_a_backup_is_taken_before_the_ledger_s_schema_changes_and_at_no_other_upgrade(world: Path) -> None:
    status, _, done = upgrade(world, RUNS="old", OLD_SCHEMA="3")
    assert status == 0
    assert done[:2] == [BUILD, SAVED]
    assert done.index(SAVED) < done.index(ROLL)
    (saved,) = (world / "project/backups").iterdir()
    assert saved.name.startswith("before-0.1.0-")
    (world / "calls").unlink()
    assert SAVED not in upgrade(world, RUNS="old", OLD_SCHEMA="4")[2]


def test_a_backup_that_fails_stops_an_upgrade_that_would_change_the_schema(world: Path) -> None:
    status, _, done = upgrade(world, RUNS="old", OLD_SCHEMA="3", FAIL="backup verify")
    assert status != 0
    assert ROLL not in done


def test_going_back_over_a_schema_change_restores_a_backup_with_the_version_before(world: Path) -> None:
    (world / "project/.env").write_text("MURMUR_VERSION_BEFORE=old\n")
    backup = world / "backup.tar"
    backup.write_bytes(b"a backup")
    (world / "project/deploy/restore.sh").write_text('#!/bin/sh\necho "restored $1 as $MURMUR_VERSION"\n')
    status, said, _ = upgrade(world, "--back", "--restore", str(backup), OLD_SCHEMA="3")
    assert (status, said.strip()) == (0, f"restored {backup} as old")
    assert sorted(kept(world)) == ["MURMUR_VERSION=old", "MURMUR_VERSION_BEFORE=0.1.0"]
    assert upgrade(world, "--restore", str(backup))[0] == 2
