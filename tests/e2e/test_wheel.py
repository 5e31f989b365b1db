"""The package as others install it: from its wheel, in an environment that has never seen the checkout."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import murmur
from murmur.client.client import Client
from tests.free_port import free_port
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


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter that has the wheel, the packages of its lock and no others, and no way to the checkout."""
    home = tmp_path_factory.mktemp("home")
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    # Linked, as this environment had each of them installed by its hash: to unpack them anew would take a minute.
    link(locked("local"), Path(sysconfig.get_path("purelib", vars={"base": str(home)})))
    pip = [sys.executable, "-m", "pip", "--python", str(python)]
    pip += ["install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, str(wheel)], check=True, timeout=120)
    return python


def locked(lock: str) -> list[str]:
    """The packages of a lock that this machine needs; this environment has them in those very versions."""
    lines = re.findall(r"^(\w.*?) \\$", (ROOT / f"requirements/{lock}.txt").read_text("utf-8"), re.MULTILINE)
    wanted = [one for line in lines if (one := Requirement(line)).marker is None or one.marker.evaluate()]
    assert len(wanted) > 50
    assert all(importlib.metadata.version(one.name) in one.specifier for one in wanted)
    return [one.name for one in wanted]


def link(names: Iterable[str], folder: Path) -> None:
    """Let *folder* have packages of this environment: those of *names*."""
    here = Path(sysconfig.get_path("purelib"))
    for name in names:
        files = {Path(str(file)).parts[0] for file in importlib.metadata.files(name) or ()}
        for file in files - {"..", "__pycache__"}:
            if not (folder / file).exists():  # several may have modules in one package
                (folder / file).symlink_to(here / file)


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
        "_platform/transcription/ledger/lua/shared/keys.lua", "_platform/demo/weights.npz",
        "_platform/demo/samples/short.flac", "_platform/api/static/web/index.html",
        "_platform/api/static/clients/js/murmur.js", "platform/io.murmuration.worker.plist", "py.typed",
        "_platform/transcription/py.typed",
    ):  # fmt: skip
        assert f"murmur/{name}" in names
    assert not [name for name in names if "training/" in name]
    # Nothing comes into an environment that may be somebody else's name.
    assert {name.partition("/")[0] for name in names} == {"murmur", f"murmuration_asr-{murmur.__version__}.dist-info"}


def test_its_client_is_imported_from_the_wheel(python: Path, tmp_path: Path) -> None:
    code = "import murmur, json; from murmur import Client; print(json.dumps([murmur.__file__, Client.__module__]))"
    file, module = json.loads(run(python, "-c", code, cwd=tmp_path))
    assert Path(file).is_relative_to(python.parents[1])
    assert module.startswith("murmur.client")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Somebody's directory, with modules of the names that the platform's packages have."""
    for name in ("transcription", "api", "worker", "demo"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    return tmp_path


def test_a_project_with_modules_of_such_names_is_left_alone(python: Path, project: Path) -> None:
    (project / "transcription.py").write_text("MINE = True\n")
    code = "from murmur import Client; import transcription; print(transcription.MINE, Client.__name__)"
    assert run(python, "-c", code, cwd=project).split() == ["True", "Client"]
    (project / "transcription.py").write_text("raise SystemExit('the wrong module')\n")
    assert "up" in run(python, "-m", "murmur", "--help", cwd=project)


def test_the_base_install_is_client_and_command_line_and_names_the_extra(wheel: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    needed = set(needs(wheel))
    assert len(needed) <= 18
    bare.mkdir()
    link(needed, bare)
    zipfile.ZipFile(wheel).extractall(bare)
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from murmur.cli.main import main; main()"
    assert "transcribe" in run(Path(sys.executable), "-S", "-c", code, str(bare), "--help", cwd=tmp_path)
    started = [sys.executable, "-S", "-c", code, str(bare), "up"]
    done = subprocess.run(started, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install '/path/to/the/checkout[local]'" in done.stderr


def test_client_and_command_line_start_where_there_are_no_modules_of_unix(tmp_path: Path) -> None:
    # As on Windows; the platform's own commands then say what they need.
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('fcntl', 'termios', 'pwd', 'grp', 'resource', 'tty'))); "
        f"sys.path.insert(0, {str(ROOT)!r}); from murmur import AsyncClient, Client; import murmur.cli.main as cli; "
        "cli.main()"
    )
    assert "transcribe" in run(Path(sys.executable), "-c", code, "--help", cwd=tmp_path)
    done = subprocess.run([sys.executable, "-c", code, "up"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "[local]" in done.stderr


def needs(wheel: Path) -> Iterator[str]:
    """The packages that come with the wheel when no extra is named, by what those of this environment ask for."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = archive.read(name).decode()
    waiting = [line.partition(": ")[2] for line in metadata.splitlines() if line.startswith("Requires-Dist: ")]
    seen: set[str] = set()
    while waiting:
        wanted = Requirement(waiting.pop())
        if wanted.name in seen or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        seen.add(wanted.name)
        yield canonicalize_name(wanted.name)
        waiting += importlib.metadata.requires(wanted.name) or ()


def test_its_demo_runs(python: Path, project: Path) -> None:
    tmp_path = project
    command = python.with_name("murmur")
    # It fails by itself when the transcript isn't what is said in the sample.
    assert run(python, str(command), "demo", "--data-dir", str(tmp_path / "data"), cwd=tmp_path, timeout_s=240)


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


def test_its_platform_runs_with_its_page_and_stops(python: Path, project: Path) -> None:
    tmp_path = project
    port = free_port()
    with up(python, tmp_path, port) as process, Client(f"http://127.0.0.1:{port}") as client:
        eventually(client.ready, 120)
        page = client._http.get("/", headers={"accept": "text/html"})
        script = client._http.get("/web/murmur.js")
        assert (page.status_code, script.status_code) == (200, 200)
        assert "<!doctype html>" in page.text.lower()
        assert client._http.get("/web/app.js").status_code == 200
    assert process.returncode in (0, 130, 143)
