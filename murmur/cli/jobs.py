"""Commands for jobs that are there: list, show, follow, take, give up, forget."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from murmur.cli.common import JobId, Url, connect, done, found, length, show
from murmur.cli.json_output import AsJson, print_json
from murmur.cli.purge import purge as purge_queue
from murmur.cli.recordings.formats import Format
from murmur.client.client import Client
from murmur.client.errors import ended
from murmur.client.responses import RemoteJob, Status
from murmur.client.retry import PATIENCE_S
from murmur.errors import CliError

SHORT = 12


def jobs(
    status: Annotated[Status | None, typer.Option(help="Only jobs in this state.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="How many.")] = 20,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """List jobs, newest first. Ids are short on a terminal, whole elsewhere; every command takes either."""
    with connect(url) as client:
        page = client.jobs(status=status and status.value, limit=limit)
    if as_json:
        print_json(page)
        return
    short = sys.stdout.isatty()
    rows = [("job", "status", "done", "audio", "model", "file")]
    rows += [
        (job.id[:SHORT] if short else job.id, job.status.value, done(job), length(job), job.model, job.audio.filename)
        for job in page.jobs
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def status(job_id: JobId, as_json: AsJson = False, url: Url = None) -> None:
    """Show a job. Status 1 if it failed, was canceled or has expired."""
    with connect(url) as client:
        job = client.job(found(client, job_id))
    show(job, as_json=as_json)
    if job.status.terminal and job.status is not Status.COMPLETED:
        raise typer.Exit(1)


def result(
    job_id: JobId,
    form: Annotated[Format, typer.Option("--format", "-f", help="Format of the transcript.")] = Format.TEXT,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it to this file.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Even if there already is one of that name.")] = False,
    url: Url = None,
) -> None:
    """Print a job's transcript, waiting for it if it isn't done. Status 1 if there will be none."""
    if output and output.exists() and not overwrite:
        raise CliError(f"{output} is there already; --overwrite replaces it")
    with connect(url, patience_s=PATIENCE_S) as client:
        client.health()
        job = _completed(client, found(client, job_id))
        text = form.written(client.result(job.id, form.value))
    if output:
        output.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


def _completed(client: Client, job_id: str) -> RemoteJob:
    job = client.job(job_id)
    if job.status is Status.COMPLETED:
        return job
    if job.status.terminal:
        raise ended(job)
    return client.wait(job_id)


def follow(job_id: JobId, as_json: AsJson = False, url: Url = None) -> None:
    """Print a job's segments as they are computed, to its end. Status 1 if it has no transcript then."""
    with connect(url, patience_s=PATIENCE_S) as client:
        client.health()
        job_id = found(client, job_id)
        for event in client.events(job_id):
            if as_json:
                print_json({"type": event.type, **event.data})
            elif event.type == "segment":
                print(f"{event.data['start']:10.2f} {event.data['end']:10.2f} {event.data['text']}", flush=True)
            if event.type == "failed":
                raise CliError(f"job {job_id}: {event.data['message']} ({event.data['code']})", status=1)


def cancel(job_id: JobId, as_json: AsJson = False, url: Url = None) -> None:
    """Cancel a job."""
    with connect(url) as client:
        show(client.cancel(found(client, job_id)), as_json=as_json)


def delete(
    job_ids: Annotated[list[str], typer.Argument(metavar="ID…", help="Jobs, or the beginnings of their ids.")],
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Delete jobs, with their transcripts and audio unless another job needs them."""
    with connect(url) as client:
        for job_id in job_ids:
            client.delete(whole := found(client, job_id))
            if as_json:
                print_json({"id": whole, "deleted": True})


def purge(
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask for confirmation.")] = False,
    as_json: AsJson = False,
    url: Url = None,
) -> None:
    """Cancel every waiting job; running jobs continue."""
    with connect(url) as client:
        if not yes:
            typer.confirm(f"Cancel every waiting job at {client.url}?", abort=True)
        canceled = purge_queue(client)
    if as_json:
        print_json({"canceled": canceled})
    else:
        print(f"{canceled} jobs canceled")


COMMANDS = {
    "jobs": jobs,
    "status": status,
    "result": result,
    "follow": follow,
    "cancel": cancel,
    "delete": delete,
    "purge": purge,
}
