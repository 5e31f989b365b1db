"""What `make clients` installs: Node's packages beside this file, Python's in an environment of their own."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.clients.tools import HERE, ROOT, Script, output

PYTHON = ROOT / ".venv" / "clients" / "bin" / "python"


def _missing(what: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"{what}: make clients")
    pytest.skip(f"{what}; `make clients` installs it")


@pytest.fixture(scope="session")
def node() -> str:
    """Node, with the packages of package.json."""
    found = shutil.which("node")
    if found is None or not (HERE / "node_modules").is_dir():
        _missing("Node and its packages aren't installed")
    return str(found)


@pytest.fixture(scope="session")
def client_python() -> Path:
    """An interpreter that has the packages of python.txt."""
    if not PYTHON.exists():
        _missing("the published Python clients aren't installed")
    return PYTHON


@pytest.fixture(scope="session")
def run_node(node: str) -> Script:
    """Run a script of this folder in Node; what it printed, as JSON."""
    return lambda script, *arguments: json.loads(output(node, HERE / script, *arguments).splitlines()[-1])


@pytest.fixture(scope="session")
def run_python(client_python: Path) -> Script:
    """Run a script of this folder beside the published clients; what it printed, as JSON."""
    return lambda script, *arguments: json.loads(output(client_python, HERE / script, *arguments).splitlines()[-1])
