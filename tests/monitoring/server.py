"""A real Prometheus for the tests."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.free_port import free_port
from tests.platform import eventually


def needs(program: str) -> str:
    """The program's path; without it the test is skipped, but not where CI could have installed it."""
    path = shutil.which(program)
    if path is None:
        installable = bool(os.environ.get("CI")) and os.geteuid() == 0 and shutil.which("apt-get") is not None
        (pytest.fail if installable else pytest.skip)(f"no {program} here: apt install prometheus")
    return path


class Prometheus:
    """Asks a running server."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=10)

    def ready(self) -> bool:
        try:
            return self._http.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """What *expression* is now; an expression that isn't valid fails the test."""
        answer = self._http.get("/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", f"{expression}: {answer}"
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found

    def value(self, expression: str) -> float:
        """The only value of *expression*."""
        (sample,) = self.query(expression)
        return float(sample["value"][1])

    def targets(self) -> dict[str, str]:
        """Each job's health: `up`, `down` or `unknown`."""
        active = self._http.get("/api/v1/targets").json()["data"]["activeTargets"]
        return {target["labels"]["job"]: target["health"] for target in active}

    def close(self) -> None:
        self._http.close()


@contextmanager
def prometheus(directory: Path, config: Mapping[str, Any]) -> Iterator[Prometheus]:
    """Run a server with *config* and its data in *directory*."""
    file, port = directory / "prometheus.yml", free_port()
    file.write_text(yaml.safe_dump(dict(config)), encoding="utf-8")
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                needs("prometheus"),
                f"--config.file={file}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    server = Prometheus(f"http://127.0.0.1:{port}")
    try:
        eventually(server.ready, within_s=30, every_s=0.1)
        yield server
    finally:
        server.close()
        process.terminate()
        process.wait(20)
