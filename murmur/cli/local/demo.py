"""`murmur demo`: one sample recording through the whole platform, over HTTP, and everything stopped again."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from demo import SAMPLES, Sample
from murmur.cli.recordings.transcribe import stage
from murmur.client.client import Client
from murmur.client.errors import ApiError, JobEnded
from murmur.client.responses import RemoteJob, Status
from murmur.errors import CliError
from murmur.platform.ledger_server import free_port
from murmur.platform.local import LocalPlatform, PlatformConfig
from murmur.platform.terminal import Terminal
from murmur.platform.up import running
from transcription.settings import Settings

READY_S = 60.0
LAST_LINES = 30
POLL_INTERVAL_S = 0.05


def demo(settings: Settings, name: str, console: Console) -> None:
    """
    Transcribe the sample called *name* with the demo model, and show how that went.

    Raises:
        CliError: the platform doesn't start, or the transcript isn't what is said in the recording.
    """
    sample = SAMPLES[name]
    settings = settings.model_copy(update={"model": "demo"})
    terminal = Terminal(quiet=True)
    began = time.monotonic()
    try:
        with running(settings, PlatformConfig(port=free_port()), terminal) as platform:
            with console.status("Starting the ledger's server, a worker and the API"):
                platform.until_ready(READY_S)
            ready_s = time.monotonic() - began
            console.print(f"Platform ready in {ready_s:.1f} s at {platform.url}, data in {settings.data_dir}")
            show(platform, sample, console)
    except (CliError, JobEnded, ApiError):
        for line in terminal.kept[-LAST_LINES:]:
            console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)
        raise
    console.print(f"Everything stopped. That took {time.monotonic() - began:.1f} s in all.")


def show(platform: LocalPlatform, sample: Sample, console: Console) -> None:
    """Transcribe *sample* before everybody's eyes. CliError: the transcript isn't what is said in the recording."""
    with Client(platform.url) as client:
        sent = time.monotonic()
        job = client.submit(sample.path, language=sample.language)
        console.print(f"Sent {sample.path.name} ({job.audio.bytes / 1024:.0f} KiB): job {job.id}")
        job = follow(client, job, platform, console)
        took = time.monotonic() - sent
        result = client.result(job.id, "verbose_json")
    for segment in result["segments"]:
        console.print(
            f"  {clock(segment['start'])} → {clock(segment['end'])}  {segment['text'].strip()}", highlight=False
        )
    console.print(times(job, result["duration"], took), markup=False, highlight=False, soft_wrap=True)
    if result["text"].split() != sample.transcript.split():
        raise CliError(f"that isn't what is said in {sample.path.name}: {sample.transcript}", status=1)
    console.print("[green]Every word is right.")


def follow(client: Client, job: RemoteJob, platform: LocalPlatform, console: Console) -> RemoteJob:
    """Poll until the job's end, with a bar. JobEnded, CliError."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("sent", total=1)
        while not job.status.terminal:
            progress.update(task, description=stage(job), completed=job.progress.fraction)
            platform.restart_exited()
            time.sleep(POLL_INTERVAL_S)
            job = client.job(job.id)
        progress.update(task, description=job.status.value, completed=1)
    if job.status is not Status.COMPLETED:
        raise JobEnded(job)
    return job


def times(job: RemoteJob, duration_s: float, took_s: float) -> str:
    """Where the time went, in a sentence or two."""
    if job.cached:
        return (
            f"Answered from the dedup cache in {took_s * 1000:.0f} ms: the same recording with the same options was "
            "computed before, and the data directory was kept."
        )
    waited = (job.started_at - job.created_at).total_seconds() if job.started_at else 0.0
    compute = job.compute_s or 0.0
    factor = f"real-time factor {compute / duration_s:.3f}" if duration_s else "nothing to hear"
    rest = max(0.0, took_s - waited - compute)
    return (
        f"{duration_s:.1f} s of audio took {took_s:.2f} s: {waited:.2f} s in the queue, "
        f"{compute:.2f} s computing ({factor}), {rest:.2f} s for the upload, loading the model, and polling."
    )


def clock(seconds: float) -> str:
    """Minutes, seconds and hundredths."""
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes):02}:{rest:05.2f}"
