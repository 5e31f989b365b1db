"""The command line. Every command parses its options, calls one function, and prints what came of it."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from demo import SAMPLES
from murmur.cli import check as checking
from murmur.cli import dead, keys, webhooks
from murmur.cli import demo as demonstration
from murmur.cli import models as local_models
from murmur.cli import transcribe as transcribing
from murmur.cli.purge import purge as purge_queue
from murmur.client.client import DEFAULT_URL, Client
from murmur.client.responses import ApiError, JobEnded, RemoteJob
from murmur.errors import CliError
from murmur.platform import up as running
from murmur.platform import worker
from murmur.platform.environment import load
from murmur.platform.local import PlatformConfig
from murmur.platform.terminal import Terminal
from transcription.job import Status
from transcription.models import CHECKPOINTS
from transcription.options import ResponseFormat, Task

PATIENCE_S = 60.0

app = typer.Typer(
    name="murmur",
    help="Murmuration: speech to text on your own machines.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
models_app = typer.Typer(help="Models: what is served, what is here, and how more come.", no_args_is_help=True)
app.add_typer(models_app, name="models")
app.add_typer(dead.app, name="dead")
app.add_typer(keys.app, name="keys")
app.add_typer(webhooks.app, name="webhooks")
app.add_typer(worker.app, name="worker")

Url = Annotated[str, typer.Option("--url", envvar="MURMUR_URL", help="Where the platform's API is.")]
DataDir = Annotated[Path | None, typer.Option(help="Uploads, models and the embedded ledger [~/.murmur].")]
JobId = Annotated[str, typer.Argument(metavar="ID", help="The job.")]


@app.command()
def up(
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port of the API [8000].")] = None,
    host: Annotated[str | None, typer.Option(help="Address that the API listens on [127.0.0.1].")] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 1,
    model: Annotated[str | None, typer.Option(help="demo, auto, a published name, or a directory [auto].")] = None,
    data_dir: DataDir = None,
) -> None:
    """Run the whole platform on this machine until Ctrl-C."""
    settings = load({"model": model, "data_dir": data_dir, "api": {"port": port, "host": host}})
    running.up(settings, PlatformConfig(workers, settings.api.host, settings.api.port), Terminal())


@app.command()
def demo(
    sample: Annotated[str, typer.Option(help=f"Which recording: {', '.join(SAMPLES)}.")] = "short",
    data_dir: DataDir = None,
) -> None:
    """Start the platform, transcribe a sample recording over HTTP, check the transcript, stop everything."""
    if sample not in SAMPLES:
        raise CliError(f"there is no sample {sample!r}; there are {', '.join(SAMPLES)}")
    demonstration.demo(load({"data_dir": data_dir}), sample, Console())


@app.command()
def transcribe(  # noqa: PLR0917  typer makes options of them
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Recordings or videos.")],
    format: Annotated[ResponseFormat, typer.Option(help="Shape of the transcripts.")] = ResponseFormat.TEXT,  # noqa: A002
    output_dir: Annotated[Path | None, typer.Option(help="Write a file for each recording here.")] = None,
    language: Annotated[str | None, typer.Option(help="ISO 639-1 code [detected].")] = None,
    model: Annotated[str | None, typer.Option(help="Model [the platform's].")] = None,
    task: Annotated[Task | None, typer.Option(help="Transcribe, or translate into English.")] = None,
    prompt: Annotated[str | None, typer.Option(help="Text that came before.")] = None,
    hotwords: Annotated[str | None, typer.Option(help="Words and names to listen for.")] = None,
    normalize: Annotated[bool, typer.Option("--normalize", help="Make a very quiet recording louder first.")] = False,
    words: Annotated[bool, typer.Option("--words", help="Give the times of every word (JSON formats).")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Transcribe files: to standard output, or with --output-dir into a file each. Status 1 if one failed."""
    if len(files) > 1 and output_dir is None and format is not ResponseFormat.TEXT:
        raise CliError(f"{len(files)} transcripts as {format.value} need files of their own: give --output-dir")
    options: dict[str, Any] = {"language": language, "model": model, "task": task and task.value}
    options |= {"prompt": prompt, "hotwords": hotwords, "word_timestamps": words or None}
    options |= {"normalize": normalize or None}
    with Client(url, patience_s=PATIENCE_S) as client:
        client.health()
        failed = transcribing.transcribe(
            client, files, format=format, options=options, output_dir=output_dir, console=Console(stderr=True)
        )
    if failed:
        raise typer.Exit(1)


@app.command()
def jobs(
    status: Annotated[Status | None, typer.Option(help="Only jobs in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 20,
    url: Url = DEFAULT_URL,
) -> None:
    """List jobs, newest first."""
    with Client(url) as client:
        page = client.jobs(status=status and status.value, limit=limit)
    table = Table("job", "status", "done", "audio", "model", "file", box=None, pad_edge=False)
    for job in page.jobs:
        table.add_row(job.id, job.status.value, done(job), length(job), job.model, job.audio.filename)
    Console(soft_wrap=True).print(table)


@app.command()
def status(job_id: JobId, url: Url = DEFAULT_URL) -> None:
    """Show a job. Status 1 if it failed, was canceled or has expired."""
    with Client(url) as client:
        job = client.job(job_id)
    show(job)
    if job.status.terminal and job.status is not Status.COMPLETED:
        raise typer.Exit(1)


@app.command()
def follow(job_id: JobId, url: Url = DEFAULT_URL) -> None:
    """Print a job's segments as they are written, to its end. Status 1 if it has no transcript then."""
    with Client(url) as client:
        for event in client.events(job_id):
            if event.type == "segment":
                print(f"{event.data['start']:10.2f} {event.data['end']:10.2f} {event.data['text']}", flush=True)
            elif event.type == "error":
                raise CliError(f"job {job_id}: {event.data['message']} ({event.data['code']})", status=1)


@app.command()
def cancel(job_id: JobId, url: Url = DEFAULT_URL) -> None:
    """Give a job up."""
    with Client(url) as client:
        show(client.cancel(job_id))


@app.command()
def purge(yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False, url: Url = DEFAULT_URL) -> None:
    """Cancel every job that waits; what runs goes on."""
    if not yes:
        typer.confirm(f"Cancel every waiting job at {url}?", abort=True)
    with Client(url) as client:
        print(f"{purge_queue(client)} jobs canceled")


@app.command()
def check(url: Url = DEFAULT_URL) -> None:
    """Look at the ledger, the workers, the model and the allocator. Status 1 if the platform can't work."""
    fit = True
    with Client(url, timeout_s=10.0) as client:
        for finding in checking.check(client):
            mark = {True: "ok", False: "BAD", None: "-"}[finding.fit]
            fit = fit and finding.fit is not False
            print(f"{mark:<4}{finding.part:<10}{finding.detail}")
    if not fit:
        raise typer.Exit(1)


@models_app.command("list")
def models_list(data_dir: DataDir = None, url: Url = DEFAULT_URL) -> None:
    """List the models that are served, those on this machine, and those that can be fetched."""
    try:
        with Client(url) as client:
            served = [str(model["id"]) for model in client.models() if not model.get("alias_of")]
        print(f"served at {url}: {', '.join(served)}")
    except ApiError as error:
        print(f"served: not known ({error.message})")
    here = local_models.downloaded(load({"data_dir": data_dir}))
    print(f"on this machine: {', '.join(['demo (built in)', *here])}")
    print(f"to be fetched: {', '.join(CHECKPOINTS)}")


@models_app.command("download")
def models_download(
    name: Annotated[str, typer.Argument(help="A published model: tiny, base, …")], data_dir: DataDir = None
) -> None:
    """Fetch a published model into the data directory."""
    print(local_models.download(name, load({"data_dir": data_dir}), Console(stderr=True)))


def show(job: RemoteJob) -> None:
    """Print a job, a fact a line."""
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


def main() -> None:
    """Run a command; whatever goes wrong is one sentence on standard error and an exit status."""
    try:
        app(prog_name="murmur")
    except CliError as trouble:
        fail(str(trouble), trouble.status)
    except (ApiError, JobEnded) as error:
        fail(str(error), 1)
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(130)
    except OSError as error:
        fail(str(error), 1)


def fail(sentence: str, status: int) -> None:
    """Say *sentence* on standard error, and exit."""
    print(f"murmur: {sentence}", file=sys.stderr)
    sys.exit(status)
