"""Commands that run or look after a platform on this machine: they need the platform's packages."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from demo import SAMPLES
from murmur.cli.common import Url, connect
from murmur.cli.json_output import AsJson, print_json
from murmur.cli.local import check as checking
from murmur.cli.local import demo as demonstration
from murmur.cli.local import models as local_models
from murmur.client.errors import ApiError
from murmur.errors import CliError
from murmur.platform import up as running
from murmur.platform.environment import load, load_alone
from murmur.platform.local import PlatformConfig
from murmur.platform.preflight import gpu_names
from murmur.platform.terminal import Terminal
from transcription.models import CHECKPOINTS

DataDir = Annotated[Path | None, typer.Option(help="Uploads, models and the embedded ledger [~/.murmur].")]

models_app = typer.Typer(help="Models: list served and local ones, download more.", no_args_is_help=True)


def up(
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port of the API [8000].")] = None,
    host: Annotated[str | None, typer.Option(help="Address that the API listens on [127.0.0.1].")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Worker processes [one; with GPUs one for each].")
    ] = None,
    model: Annotated[str | None, typer.Option(help="demo, auto, a published name, or a directory [auto].")] = None,
    data_dir: DataDir = None,
) -> None:
    """Run the whole platform on this machine until Ctrl-C."""
    settings = load({"model": model, "data_dir": data_dir, "api": {"port": port, "host": host}})
    terminal = Terminal()
    devices = gpu_names(settings, terminal.say)
    count = workers or max(1, len(devices))
    running.up(settings, PlatformConfig(count, settings.api.host, settings.api.port, devices), terminal)


def demo(
    sample: Annotated[str, typer.Option(help=f"Which recording: {', '.join(SAMPLES)}.")] = "short",
    data_dir: Annotated[Path | None, typer.Option(help="Keep its data here [a temporary directory].")] = None,
) -> None:
    """Start the platform, transcribe a sample recording over HTTP, check the transcript, stop everything."""
    if sample not in SAMPLES:
        raise CliError(f"there is no sample {sample!r}; there are {', '.join(SAMPLES)}")
    with tempfile.TemporaryDirectory(prefix="murmur-demo-", ignore_cleanup_errors=True) as temporary:
        # Its own: a platform that runs on the usual directory, or that a .env here is for, is none of its business.
        demonstration.demo(load_alone({"data_dir": data_dir or Path(temporary)}), sample, Console())


def check(as_json: AsJson = False, url: Url = None) -> None:
    """Check the ledger, the workers, the model and the allocator. Status 1 if the platform can't work."""
    fit, shapes, console = True, [], Console()
    with connect(url, timeout_s=10.0) as client:
        for finding in checking.check(client):
            fit = fit and finding.fit is not False
            shapes.append({"part": finding.part, "fit": finding.fit, "detail": finding.detail})
            if not as_json:
                mark, style = {True: ("ok", "green"), False: ("BAD", "bold red"), None: ("-", "dim")}[finding.fit]
                line = Text.assemble((f"{mark:<4}", style), f"{finding.part:<10}{finding.detail}")
                console.print(line, soft_wrap=True)
    if as_json:
        print_json({"fit": fit, "parts": shapes})
    if not fit:
        raise typer.Exit(1)


@models_app.command("list")
def models_list(data_dir: DataDir = None, as_json: AsJson = False, url: Url = None) -> None:
    """List the models that are served, those on this machine, and those that can be fetched."""
    here = local_models.downloaded(load({"data_dir": data_dir}))
    with connect(url) as client:
        try:
            served = [str(model["id"]) for model in client.models() if not model.get("alias_of")]
            said = f"served at {client.url}: {', '.join(served)}"
        except ApiError as error:
            served, said = [], f"served: not known ({error.message})"
    if as_json:
        print_json({"served": served, "here": ["demo", *here], "to_be_fetched": CHECKPOINTS})
        return
    print(said)
    print(f"on this machine: {', '.join(['demo (built in)', *here])}")
    print(f"to be fetched: {', '.join(CHECKPOINTS)}")


@models_app.command("download")
def models_download(
    name: Annotated[str, typer.Argument(help="A published model: tiny, base, …")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a published model into the data directory."""
    where = local_models.download(name, load({"data_dir": data_dir}), Console(stderr=True))
    if as_json:
        print_json({"model": name, "directory": str(where)})
    else:
        print(where)


COMMANDS = {"up": up, "demo": demo, "check": check, "models": models_app}
