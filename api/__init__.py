"""The HTTP side: FastAPI over one core of submit, look up, cancel."""

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def _version() -> str:
    """The installed package's version; in a checkout, that of its pyproject.toml."""
    try:
        return version("murmuration-asr")
    except PackageNotFoundError:
        project = Path(__file__).parents[1] / "pyproject.toml"
    return str(tomllib.loads(project.read_text("utf-8"))["project"]["version"]) if project.is_file() else "unknown"


VERSION = _version()
