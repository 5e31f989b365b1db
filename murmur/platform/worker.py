"""`murmur worker`: a worker on this machine, for a platform whose API and ledger run elsewhere."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from murmur.errors import CliError
from murmur.platform import allocator, launchd
from murmur.platform.data_dir import claimed
from murmur.platform.environment import absolute, borrow, exported, load
from murmur.platform.local import ONE_THREAD, ROOT, worker_argv
from murmur.platform.log_file import KEPT, LogFile
from murmur.platform.processes import Program, Sink
from murmur.platform.supervisor import Supervisor
from murmur.platform.terminal import Terminal
from murmur.platform.up import POLL_INTERVAL_S, Signals
from transcription.settings import Settings
from transcription.storage.model_hub import DEFAULT_MODEL

ENGINES = {"mlx": "mlx_whisper", "mlx-whisper": "mlx_whisper", "faster-whisper": "faster_whisper"}
GRACE_S = 15.0

app = typer.Typer(
    help="A worker for a platform that runs elsewhere: start it, or have macOS keep it running.",
    invoke_without_command=True,
)


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How the worker is to run."""

    settings: Settings
    name: str
    log_file: Path | None
    awake: bool


@app.callback()
def worker(  # noqa: PLR0917  typer makes options of them
    context: typer.Context,
    engine: Annotated[str | None, typer.Option(help="mlx, faster-whisper, or auto: MLX on a Mac [auto].")] = None,
    ledger: Annotated[str | None, typer.Option(help="Redis of the ledger, redis://….")] = None,
    audio: Annotated[
        str | None, typer.Option(help="Where audio comes from: s3://… or the API's URL; without it, a shared data-dir.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="A published name, a directory, a repository, or demo.")] = None,
    slots: Annotated[int | None, typer.Option(min=1, help="Spans processed at the same time [by its cores].")] = None,
    name: Annotated[str, typer.Option(help="Name of the worker, unique on this host.")] = "native",
    data_dir: Annotated[Path | None, typer.Option(help="Models and copies of audio [~/.murmur].")] = None,
    env_file: Annotated[Path | None, typer.Option(help="File with MURMUR_ variables, like .env.")] = None,
    log_file: Annotated[
        Path | None, typer.Option(help=f"Log to this file: a day or 10 MB at most, {KEPT} older ones are kept.")
    ] = None,
    awake: Annotated[bool, typer.Option(help="Keep a Mac from sleeping while the worker runs.")] = True,
) -> None:
    """Work until Ctrl-C."""
    if env_file is not None:
        borrow(env_file)
    settings = load(
        {
            "model": model,
            "data_dir": data_dir,
            "ledger": {"url": ledger},
            "blobs": {"url": audio},
            "worker": {"engine": ENGINES.get(engine or "", engine), "slots": slots},
        }
    )
    _check(settings)
    context.obj = WorkerOptions(_resolved(settings), name, log_file and absolute(log_file), awake)
    if context.invoked_subcommand is None:
        run(context.obj)


@app.command("install-service")
def install(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option(help="Only print the property list.")] = False,
) -> None:
    """Have launchd run the worker now and after every login, with the options that were given (macOS)."""
    options: WorkerOptions = context.obj
    log = options.log_file or options.settings.data_dir / "logs" / "worker.log"
    arguments = [sys.executable, "-m", "murmur", "worker", "--name", options.name, "--log-file", str(log)]
    arguments += [] if options.awake else ["--no-awake"]
    # The bucket's and the hub's clients have variables of their own.
    theirs = {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "HF_"))}
    plist = launchd.property_list(arguments, theirs | exported(options.settings), directory=ROOT, log=log)
    if dry_run:
        sys.stdout.write(plist.decode())
        return
    print(f"installed {launchd.install(plist)}; it writes to {log}")


@app.command("uninstall-service")
def uninstall() -> None:
    """Stop the service and remove it (macOS)."""
    print(f"removed {launchd.uninstall()}")


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="Write JSON, for programs.")] = False) -> None:
    """Show whether the service runs (macOS). Status 1 if it doesn't."""
    running, status_text = launchd.status()
    print(json.dumps({"running": running, "detail": status_text}) if as_json else status_text)
    if not running:
        raise typer.Exit(1)


def run(options: WorkerOptions) -> None:
    """
    Keep a worker running until told to stop.

    Raises:
        CliError: it dies again and again, or one of that name runs already.
    """
    with claimed(options.settings.data_dir, worker=options.name):
        _supervise(options)


def _supervise(options: WorkerOptions) -> None:
    terminal = Terminal()
    sink, say = (terminal.line, terminal.say) if options.log_file is None else _into(LogFile(options.log_file))
    supervisor = Supervisor(sink, say)
    signals = Signals(supervisor.kill)
    _keep_awake(options.awake)
    try:
        supervisor.start(_program(options))
        engine, model = options.settings.worker.engine, options.settings.model
        say(f"worker {options.name}: engine {engine}, model {model}; Ctrl-C stops it")
        while True:
            supervisor.restart_exited()
            time.sleep(POLL_INTERVAL_S)
    except KeyboardInterrupt:
        signals.about_to_end()
        say("stopping")
    finally:
        signals.about_to_end()
        supervisor.stop(supervisor.names())
        signals.restore()


def _program(options: WorkerOptions) -> Program:
    env = exported(options.settings) | allocator.tunables(os.environ)
    # What libraries would take of the cores by default.
    env |= {"PYTHONUNBUFFERED": "1", **ONE_THREAD, "OMP_NUM_THREADS": str(options.settings.worker.threads)}
    argv = worker_argv(options.name)
    return Program(name="worker", argv=argv, env=env, grace_s=GRACE_S, directory=ROOT)


def _check(settings: Settings) -> None:
    """Report at once what would stop the worker from starting. CliError."""
    if settings.blobs.url.startswith("http"):
        try:
            settings.blobs.signing_key()
        except ValueError as error:
            raise CliError(str(error)) from error


def _resolved(settings: Settings) -> Settings:
    changes: dict[str, object] = {"data_dir": absolute(settings.data_dir)}
    if settings.model == "auto":  # what the containers serve by default
        changes["model"] = DEFAULT_MODEL
    if "log_format" not in settings.model_fields_set:
        changes["log_format"] = "text"
    return settings.model_copy(update=changes)


def _into(file: LogFile) -> tuple[Sink, Callable[[str], None]]:
    return file.line, lambda text: file.line("murmur", text)


def _keep_awake(wanted: bool) -> None:
    if wanted and sys.platform == "darwin":
        # It ends with us.
        subprocess.Popen(["/usr/bin/caffeinate", "-i", "-w", str(os.getpid())])  # noqa: S603  macOS's own


COMMANDS = {"worker": app}
