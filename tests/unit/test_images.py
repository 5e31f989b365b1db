"""The images' files: what is built from which, how each says that it is well, and what is installed in it."""

import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from murmur.platform import allocator
from tests.compose_files import ROOT, SERVICES, seconds, stack

DOCKERFILES = {"api": "Dockerfile.api", "flower": "Dockerfile.api", "worker": "Dockerfile.worker"}
# What its own health check asks: two do their work and exit, and an alert watches the backups.
ASKED = sorted(set(SERVICES) - {"models", "edge-settings", "backup"})


def healthcheck(dockerfile: str, stage: str) -> dict[str, Any]:
    """The health check of an image: its options in seconds, and its command."""
    stages = re.split(r"^FROM ", (ROOT / dockerfile).read_text("utf-8"), flags=re.MULTILINE)
    (text,) = [one for one in stages if one.split("\n")[0].endswith(f" AS {stage}")]
    found = re.search(r"^HEALTHCHECK (.*?)\\\n\s+CMD (\[.*\])$", text, re.MULTILINE)
    assert found, f"{dockerfile}: {stage} has no health check"
    told = dict(option.removeprefix("--").split("=") for option in found[1].split())
    return {
        "test": yaml.safe_load(found[2]),
        **{name: int(value) if name == "retries" else seconds(value) for name, value in told.items()},
    }


def checks() -> dict[str, dict[str, Any]]:
    """Every service's health check, whether the stack or the image has it."""
    found: dict[str, dict[str, Any]] = {}
    for name, service in SERVICES.items():
        told = service.get("healthcheck")
        if told is None:
            found[name] = healthcheck(DOCKERFILES[name], name)
        elif not told.get("disable"):
            times = {key: seconds(value) for key, value in told.items() if key not in ("test", "retries")}
            found[name] = {"test": told["test"], "retries": told["retries"], **times}
    return found


def test_images_of_others_are_pinned_and_ours_are_built_here() -> None:
    for service in SERVICES.values():
        if service["image"].startswith("murmuration-"):
            assert service["image"].endswith(":latest")
        else:
            assert re.search(r":(v?\d[\w.-]*|stable-alpine)$", service["image"]), service["image"]
    built = {
        name: (one["build"]["dockerfile"], one["build"].get("target"))
        for name, one in SERVICES.items()
        if "build" in one
    }
    assert built == {
        "api": ("Dockerfile.api", "api"),
        "worker": ("Dockerfile.worker", None),
        "flower": ("Dockerfile.api", "flower"),
    }
    assert SERVICES["models"]["image"] == SERVICES["worker"]["image"]
    assert SERVICES["models"]["pull_policy"] == "never"


def test_our_images_have_the_tag_of_their_version_and_are_told_which_code_they_are() -> None:
    tag = {"MURMUR_VERSION": "1.2.3-abc", "MURMUR_COMMIT": "abcdef"}
    for files in ((), ("docker-compose.cuda.yml",), ("docker-compose.cuda.yml", "docker-compose.torch.yml")):
        ours = [one for one in stack(*files, environment=tag)["services"].values() if "murmuration-" in one["image"]]
        assert all(re.fullmatch(r"murmuration-\w+:1\.2\.3-abc(-cuda|-torch)?", one["image"]) for one in ours)
        built = [one["build"]["args"] for one in ours if "build" in one]
        assert len(built) == 3
        assert all(tag.items() <= args.items() for args in built)


@pytest.mark.parametrize("name", sorted(DOCKERFILES))
def test_an_image_s_labels_say_its_version_its_commit_and_the_ledger_s_schema(name: str) -> None:
    stages = re.split(r"^FROM ", (ROOT / DOCKERFILES[name]).read_text("utf-8"), flags=re.MULTILINE)
    (text,) = [one for one in stages if one.split("\n")[0].endswith(f" AS {name}")]
    labels = dict(re.findall(r'([\w.]+)="([^"]*)"', text.partition("LABEL ")[2]))
    assert labels["org.opencontainers.image.version"] == "$MURMUR_VERSION"
    assert labels["org.opencontainers.image.revision"] == "$MURMUR_COMMIT"
    schema = (ROOT / "transcription/ledger/lua/schema.lua").read_text("utf-8")
    version = re.search(r"^local VERSION = (\d+)$", schema, re.MULTILINE)
    assert version
    assert labels.get("murmuration.ledger.schema") == (None if name == "flower" else version[1])


def test_every_service_says_whether_it_is_well() -> None:
    found = checks()
    assert set(found) == set(ASKED)
    for name, check in found.items():
        assert 2 <= check["retries"] <= 5, name
        assert 0 < check["timeout"] <= 5 <= check["interval"] <= 30, name
        assert check["timeout"] < check["interval"], name


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("nginx", "http://127.0.0.1:8080/-/edge"),
        ("edge-metrics", "http://127.0.0.1:9113/metrics"),
        ("api", "restart_unwell.py api/health_check.py"),
        ("flower", "http://127.0.0.1:5555/flower/healthcheck"),
        ("prometheus", "http://127.0.0.1:9090/-/healthy"),
        ("alertmanager", "http://127.0.0.1:9093/-/healthy"),
        ("grafana", "http://127.0.0.1:3000/api/health"),
        ("worker", "restart_unwell.py worker/health_check.py"),
        ("redis", "redis-cli ping | grep -q PONG"),
        ("redis-cache", "redis-cli ping | grep -q PONG"),
    ],
)
def test_a_health_check_asks_the_service_itself(name: str, asked: str) -> None:
    kind, *rest = checks()[name]["test"]
    assert asked in " ".join([kind, *rest])
    assert not re.search(r"\|\| *(true|exit 0|:)", " ".join(rest))


def test_replicas_are_told_apart_from_dead_ones_soon() -> None:
    api = checks()["api"]
    assert api["interval"] * api["retries"] <= 15
    assert api["start-period"] >= 20


@pytest.mark.parametrize("accelerator", ["cpu", "cuda", "torch"])
def test_the_worker_s_image_has_a_lock_for_every_accelerator(accelerator: str) -> None:
    lock = {"cpu": "worker"}.get(accelerator, accelerator)
    assert f"COPY requirements/{lock}.txt /tmp/worker-{accelerator}.txt" in (ROOT / "Dockerfile.worker").read_text(
        "utf-8"
    )
    locked = set(re.findall(r"(?m)^([\w-]+)==", (ROOT / "requirements" / f"{lock}.txt").read_text("utf-8")))
    wanted = {
        "cpu": set(),
        "cuda": {"nvidia-cublas-cu12", "nvidia-ml-py"},
        "torch": {"torch", "nvidia-ml-py", "safetensors"},
    }
    assert {"ctranslate2", "celery", *wanted[accelerator]} <= locked
    assert "openvino-telemetry" not in locked


def test_the_worker_s_image_tells_the_allocator_what_murmur_up_tells_it() -> None:
    text = (ROOT / "Dockerfile.worker").read_text("utf-8")
    assert {
        name: value for name, value in re.findall(r"(\w+)=(\S+)", text) if "MALLOC" in name or "TUNABLES" in name
    } == allocator.GLIBC


def test_every_lock_has_what_its_extras_ask_for_since_nothing_else_is_installed_with_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

    def names(requirements: list[str]) -> Iterator[str]:
        for requirement in requirements:
            name, extra = re.match(r"([\w.-]+)(?:\[([\w,]+)])?", requirement).groups()
            if name == project["name"]:
                yield from names([part for one in extra.split(",") for part in project["optional-dependencies"][one]])
            else:
                yield name.replace(".", "-").lower()

    commands = (ROOT / "requirements" / "lock.sh").read_text("utf-8").replace("\\\n", "").splitlines()
    locks = {line.split()[1]: line.split()[2:] for line in commands if re.match(r"lock \w+ ", line)}
    with_torch = [line for line in commands if line.startswith("compile --no-config")]
    locks |= {re.search(r"(\w+)\.txt", line)[1]: re.findall(r"--extra=(\w+)", line) for line in with_torch}
    assert {"api", "worker", "local", "torch", "pyannote", "sherpa", "granian", "mlx", "cuda"} <= locks.keys()
    for lock, extras in locks.items():
        asked = [part for extra in extras for part in project["optional-dependencies"][extra]]
        locked = set(re.findall(r"(?m)^([\w-]+)==", (ROOT / "requirements" / f"{lock}.txt").read_text("utf-8")))
        assert {*names(asked), *names(project["dependencies"])} - locked == set(), lock
        if lock == "pyannote":  # pyannote.audio asks for it
            assert "torch" in locked


def test_images_install_the_locks_and_nothing_that_the_locks_leave_out() -> None:
    found = [
        line
        for name in sorted(set(DOCKERFILES.values()))
        for line in (ROOT / name).read_text("utf-8").splitlines()
        if "--require-hashes" in line
    ]
    assert len(found) == 3
    # pip would add what a package names and the lock leaves out (OpenVINO's telemetry), and fail for want of its hash.
    assert all("--no-deps" in line for line in found), found
