"""The package as others install it: from its wheel, in an environment that has never seen the checkout."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from murmur.client.client import Client
from murmur.platform.ledger_server import free_port
from tests.platform import eventually

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, timeout=300)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("borrowed", id="packages_of_this_environment"),
        pytest.param(
            "locked",
            id="packages_installed_anew",
            marks=pytest.mark.skipif(not os.environ.get("CI"), reason="takes minutes; CI does it"),
        ),
    ],
)
def python(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has the wheel and what it needs, and no way to the checkout."""
    home = tmp_path_factory.mktemp("home")
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    if request.param == "locked":
        locked = ["--require-hashes", "-r", str(ROOT / "requirements" / "local.txt")]
        subprocess.run([*pip, *locked], check=True, timeout=600)
    else:
        # A folder that a path file names is searched for packages; path files in it, as the checkout's, aren't read.
        packages = Path(sysconfig.get_path("purelib", vars={"base": str(home)}))
        (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    subprocess.run([*pip, str(wheel)], check=True, timeout=120)
    return python


def run(python: Path, *arguments: str, cwd: Path, timeout_s: float = 60) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MURMUR_"))}
    done = subprocess.run(
        [str(python), *arguments], cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_has_all_data_and_nothing_that_only_developers_need(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in (
        "transcription/ledger/lua/common.lua", "demo/weights.npz", "demo/samples/short.flac",
        "api/static/web/index.html", "api/static/clients/js/murmur.js",
        "murmur/platform/io.murmuration.worker.plist", "murmur/py.typed",
        "transcription/py.typed",
    ):  # fmt: skip
        assert name in names
    assert not [name for name in names if name.startswith(("tests/", "bench/", "demo/training/", "docs/"))]


def test_its_client_is_imported_from_the_wheel(python: Path, tmp_path: Path) -> None:
    code = "import murmur, json; from murmur import Client; print(json.dumps([murmur.__file__, Client.__module__]))"
    file, module = json.loads(run(python, "-c", code, cwd=tmp_path))
    assert Path(file).is_relative_to(python.parents[1])
    assert module.startswith("murmur.client")


def test_its_demo_runs(python: Path, tmp_path: Path) -> None:
    murmur = python.with_name("murmur")
    # It fails by itself when the transcript isn't what is said in the sample.
    assert run(python, str(murmur), "demo", "--data-dir", str(tmp_path / "data"), cwd=tmp_path, timeout_s=240)


@contextmanager
def up(python: Path, folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MURMUR_"))}
    command = [str(python.with_name("murmur")), "up", "--port", str(port), "--model", "demo"]
    with subprocess.Popen([*command, "--data-dir", str(folder / "data")], cwd=folder, env=env) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


def test_its_platform_runs_with_its_page_and_stops(python: Path, tmp_path: Path) -> None:
    port = free_port("127.0.0.1")
    with up(python, tmp_path, port) as process, Client(f"http://127.0.0.1:{port}") as client:
        eventually(client.ready, 120)
        page = client._http.get("/", headers={"accept": "text/html"})
        script = client._http.get("/web/murmur.js")
        assert (page.status_code, script.status_code) == (200, 200)
        assert "<!doctype html>" in page.text.lower()
        assert client._http.get("/web/app.js").status_code == 200
    assert process.returncode in (0, 130, 143)
