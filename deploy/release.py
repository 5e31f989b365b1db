"""
Make what a version is published with, in `dist/`: `make release`.

- the wheel and the sdist;
- `images.txt`, the images' tags; with `--images` they are built, and carry them;
- `sbom-*.cdx.json`, what is inside: CycloneDX, one for each lock that is shipped;
- `NOTES.md`, the version's part of the changelog;
- `SHA256SUMS` of all of it.

Two runs on one commit give the same bytes: times are the commit's.
"""

import argparse
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCKS = ("api", "worker", "local", "flower")
IMAGES = {
    "murmuration-api": ["-f", "Dockerfile.api"],
    "murmuration-worker": ["-f", "Dockerfile.worker"],
    "murmuration-flower": ["-f", "Dockerfile.api", "--target", "flower"],
}
SBOM_VERSION = "1.6"
"""Of CycloneDX's format."""

_VERSION = re.compile(r'^__version__ = "([^"]+)"$', re.MULTILINE)
_VALIDATE = """
import pathlib, sys
sys.modules["rfc3987_syntax"] = None  # every URL by an IRI's whole grammar: fifteen seconds in place of one
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation import make_schemabased_validator
validator = make_schemabased_validator(OutputFormat.JSON, SchemaVersion.from_version(sys.argv[1]))
for name in sys.argv[2:]:
    if problem := validator.validate_str(pathlib.Path(name).read_text("utf-8")):
        sys.exit(f"{name} isn't what CycloneDX's schema describes: {str(problem)[:1000]}")
"""


def version() -> str:
    """The version that is released."""
    found = _VERSION.search((ROOT / "murmur" / "version.py").read_text("utf-8"))
    if found is None:
        sys.exit("release: murmur/version.py names no version")
    return found[1]


def notes(changelog: str, released: str) -> str:
    """The part of *changelog* about version *released*; while it has none, what isn't released yet."""
    parts = re.split(r"^## \[([^\]]+)\][^\n]*\n", changelog, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2], strict=True))
    text = sections.get(released, sections.get("Unreleased", "")).strip()
    if not text:
        sys.exit(f"release: CHANGELOG.md says nothing about {released}")
    return f"# Murmuration {released}\n\n{text}\n"


def tags(released: str) -> list[str]:
    """Every tag that an image of version *released* has: the whole version, its series, and the latest."""
    series = ".".join(released.split(".")[:2])
    return [f"{image}:{tag}" for image in IMAGES for tag in (released, series, "latest")]


def main() -> None:
    """Make everything."""
    parser = argparse.ArgumentParser(description="Make what a version is published with.")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="An interpreter with the tools.")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="Where to.")
    parser.add_argument("--images", action="store_true", help="Build the images too (Docker).")
    asked = parser.parse_args()
    out: Path = asked.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        sys.exit(f"release: {out} isn't empty; move away what is there")
    released, stamp = version(), _commit_time()
    python = [str(asked.python.absolute()), "-m"]
    _run(*python, "build", "--no-isolation", "--outdir", str(out), str(ROOT), stamp=stamp)
    sboms = {lock: str(out / f"sbom-{lock}.cdx.json") for lock in LOCKS}
    for lock, sbom in sboms.items():
        described = ["--pyproject", "pyproject.toml", "--mc-type", "application", "--output-reproducible"]
        described += ["--spec-version", SBOM_VERSION, "--no-validate"]  # all at once: to read the schema takes seconds
        _run(*python, "cyclonedx_py", "requirements", *described, "-o", sbom, f"requirements/{lock}.txt")
    _run(*python[:-1], "-c", _VALIDATE, SBOM_VERSION, *sboms.values())
    (out / "NOTES.md").write_text(notes((ROOT / "CHANGELOG.md").read_text("utf-8"), released), encoding="utf-8")
    (out / "images.txt").write_text("".join(f"{tag}\n" for tag in tags(released)), encoding="utf-8")
    if asked.images:
        said = [f"--build-arg=MURMUR_VERSION={released}", f"--build-arg=MURMUR_COMMIT={_commit()}"]
        for image, options in IMAGES.items():
            named = [part for tag in tags(released) if tag.startswith(f"{image}:") for part in ("-t", tag)]
            _run("docker", "build", *options, *said, *named, ".")
    files = sorted(path for path in out.iterdir() if path.name != ".gitignore")
    sums = "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files)
    (out / "SHA256SUMS").write_text(sums, encoding="utf-8")
    print(f"Murmuration {released} in {out}: {', '.join(path.name for path in files)}")


def _commit() -> str:
    """The commit that is released."""
    return _of_commit("%H")


def _commit_time() -> str:
    """When the commit was made: what archives say of their files."""
    return _of_commit("%ct") or "0"


def _of_commit(what: str) -> str:
    asked = ["git", "log", "-1", f"--format={what}"]
    found = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603  our own words
    return found.stdout.strip()


def _run(*command: str, stamp: str = "0") -> None:
    env = os.environ | {"SOURCE_DATE_EPOCH": stamp} if stamp != "0" else dict(os.environ)
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        sys.exit(f"release: {' '.join(command)} failed\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


if __name__ == "__main__":
    main()
