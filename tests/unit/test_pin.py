"""`make pin`: images by their digests, with a `docker` in its place that knows those of others."""

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKER = """#!/bin/sh
echo "$4" >>"$0.asked"
case $4 in *{broken}* | registry.example.com/*) exit 1 ;; esac
echo "sha256:$(printf %s "$4{salt}" | sha256sum | cut -d ' ' -f 1)"
"""


def digest(image: str, salt: str = "") -> str:
    return hashlib.sha256(f"{image}{salt}".encode()).hexdigest()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for path in [*ROOT.glob("docker-compose*.yml"), *ROOT.glob("Dockerfile.*")]:
        shutil.copy(path, tmp_path)
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    return tmp_path


def pin(checkout: Path, *, broken: str = "nothing", salt: str = "") -> subprocess.CompletedProcess[str]:
    docker = checkout / "docker"
    docker.write_text(DOCKER.replace("{broken}", broken).replace("{salt}", salt))
    docker.chmod(0o755)
    script = str(checkout / "deploy/pin.sh")
    told = {"PATH": "/usr/bin:/bin", "DOCKER": str(docker)}
    return subprocess.run([script], env=told, capture_output=True, text=True, check=False)


def images(checkout: Path) -> list[str]:
    """Every image of others, wherever one is named."""
    files = [*checkout.glob("docker-compose*.yml"), *checkout.glob("Dockerfile.*")]
    files += checkout.glob("deploy/kubernetes/*/murmuration.yaml")
    naming = re.compile(r'^ *(?:image: *|FROM |build: .*"FROM )([^\s"]+:[^\s"]+)', re.MULTILINE)
    named = [name for path in files for name in naming.findall(path.read_text())]
    chart = (checkout / "deploy/helm/murmuration/values.yaml").read_text()
    in_chart = re.findall(r'repository: (\S+), tag: ([^ ",]+), digest: "(\S*)"', chart)
    assert in_chart
    named += [f"{name}:{tag}{digest and '@'}{digest}" for name, tag, digest in in_chart]
    return [name for name in named if not name.rpartition("/")[2].startswith("murmuration-")]


def texts(checkout: Path) -> dict[Path, str]:
    return {
        path: path.read_text()
        for path in checkout.rglob("*")
        if path.suffix in {".yml", ".yaml"} or "file." in path.name
    }


def test_every_image_of_others_is_named_by_the_digest_of_its_tag_and_nothing_else_changes(checkout: Path) -> None:
    edges = checkout / "docker-compose.edges.yml"
    edges.write_text(edges.read_text().replace("nginx:stable", "nginx:1.30"))  # which no other file names
    before, names = texts(checkout), images(checkout)
    assert len(names) > 8
    assert "nginx:1.30-alpine" in names
    done = pin(checkout)
    assert done.returncode == 0, done.stderr
    assert images(checkout) == [f"{name}@sha256:{digest(name)}" for name in names]
    after = texts(checkout)
    assert {path: re.sub(r"@?sha256:[0-9a-f]{64}", "", text) for path, text in after.items()} == before
    # Again: the same. When a tag has moved on: the new digest in the old one's place.
    assert pin(checkout).returncode == 0
    assert texts(checkout) == after
    assert pin(checkout, salt="later").returncode == 0
    assert images(checkout) == [f"{name}@sha256:{digest(name, 'later')}" for name in names]


def test_nothing_is_changed_when_a_registry_gives_no_digest(checkout: Path) -> None:
    before = texts(checkout)
    failed = pin(checkout, broken="grafana")
    assert failed.returncode == 1
    assert "grafana" in failed.stderr
    assert texts(checkout) == before
