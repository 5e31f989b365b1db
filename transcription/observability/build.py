"""Which code this is: the version, and the commit that it was built from."""

import json
import subprocess
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

ROOT = Path(__file__).resolve().parents[2]
UNKNOWN = "unknown"
GIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Build:
    """A version, and the commit's hash; `unknown` where nothing says so."""

    version: str = UNKNOWN
    commit: str = UNKNOWN


@cache
def build() -> Build:
    """This code's, looked up once."""
    return read(ROOT)


def read(root: Path) -> Build:
    """
    The build of the code under *root*: what an image says of itself, else an installed package, else a checkout.

    Args:
        root: The folder in which the packages lie. An image has a `build.json` there.
    """
    try:
        told = json.loads((root / "build.json").read_text("utf-8"))
        return Build(told["version"] or UNKNOWN, told["commit"] or UNKNOWN)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    project = root / "pyproject.toml"
    if project.is_file():
        return Build(str(tomllib.loads(project.read_text("utf-8"))["project"]["version"]), _commit(root))
    try:
        return Build(version("murmuration-asr"))
    except PackageNotFoundError:
        return Build()


def _commit(checkout: Path) -> str:
    """The commit that is checked out."""
    asked = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=GIT_S)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return UNKNOWN
    return said.stdout.strip() or UNKNOWN


class BuildFigures(Collector):
    """`murmur_build_info`: 1, with the version and the commit as labels."""

    def collect(self) -> Iterable[Metric]:
        """The one figure."""
        made = build()
        figure = GaugeMetricFamily(
            "murmur_build_info", "Always 1; the version and commit of the code.", labels=["version", "commit"]
        )
        figure.add_metric([made.version, made.commit], 1)
        yield figure
