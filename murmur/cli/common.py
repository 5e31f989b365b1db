"""What commands of the API share: where the platform is, a job by the beginning of its id."""

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from murmur.cli.json_output import print_json
from murmur.client.client import Client
from murmur.client.connection import DEFAULT_URL
from murmur.client.responses import RemoteJob
from murmur.errors import CliError

ID = re.compile(r"[0-9a-f]{32}")
PREFIX = re.compile(r"[0-9a-f]{4,31}")
PAGES = 10

Url = Annotated[
    str | None, typer.Option("--url", envvar="MURMUR_URL", help=f"Where the platform's API is [{DEFAULT_URL}].")
]
JobId = Annotated[str, typer.Argument(metavar="ID", help="The job, or the beginning of its id.")]


def config_file() -> Path:
    """Where the command line's own settings are."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "murmur" / "config.toml"


def config() -> dict[str, Any]:
    """The file's settings: `url`, `key`. CliError: it can't be read."""
    file = config_file()
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CliError(f"{file}: {error}") from error


def connect(url: str | None, *, patience_s: float = 0.0, timeout_s: float = 60.0) -> Client:
    """A client by the options, the environment and the file, the first that says something. CliError."""
    kept = config()
    unknown = sorted(set(kept) - {"url", "key"})
    if unknown:
        raise CliError(f"{config_file()}: unknown setting {unknown[0]!r}; there are url and key")
    key = os.environ.get("MURMUR_API_KEY") or kept.get("key")
    return Client(url or kept.get("url"), patience_s=patience_s, timeout_s=timeout_s, api_key=key)


def found(client: Client, job_id: str) -> str:
    """
    The whole id of the job that begins with *job_id*, as git does it.

    Raises:
        CliError: several jobs do.
    """
    if not PREFIX.fullmatch(job_id):
        return job_id
    matches, cursor = [], None
    for _ in range(PAGES):
        page = client.jobs(limit=200, cursor=cursor)
        matches += [job for job in page.jobs if job.id.startswith(job_id)]
        cursor = page.cursor
        if cursor is None or len(matches) > 1:
            break
    if len(matches) > 1:
        several = ", ".join(f"{job.id[:12]} ({job.audio.filename})" for job in matches[:5])
        raise CliError(f"several jobs begin with {job_id}: {several}", status=1)
    return matches[0].id if matches else job_id


def show(job: RemoteJob, *, as_json: bool = False) -> None:
    """Print a job, a fact a line."""
    if as_json:
        print_json(job)
        return
    facts = {
        "job": job.id,
        "status": job.status.value,
        "done": done(job),
        "audio": f"{length(job)} {job.audio.filename}",
    }
    facts |= {"model": job.model, "language": job.language or "-", "cached": "yes" if job.cached else ""}
    facts["waits"] = f"number {job.queue.position}" if job.queue else ""
    facts["error"] = f"{job.error.message} ({job.error.code})" if job.error else ""
    for name, fact in facts.items():
        if fact:
            print(f"{name:<10}{fact}")


def done(job: RemoteJob) -> str:
    """How far a job is."""
    return f"{job.progress.fraction:.0%}"


def length(job: RemoteJob) -> str:
    """How long the recording is; nothing while that isn't known."""
    return f"{job.audio.duration_s:.1f} s" if job.audio.duration_s else ""
