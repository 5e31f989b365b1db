"""The command line. Every command parses its options, calls one function, and prints what came of it."""

import importlib
import sys
from typing import Annotated

import typer

from murmur.cli.lazy import CommandGroup
from murmur.client.errors import ApiError, JobEnded
from murmur.errors import CliError
from murmur.packages import enable
from murmur.version import __version__

EPILOG = """\
Exit status: 0 all went well; 1 a recording, a job or the platform failed; 2 wrong usage; 130 interrupted.
Settings: ~/.config/murmur/config.toml may hold url = "…" and key = "…"; MURMUR_URL and MURMUR_API_KEY win over it.
"""

app = typer.Typer(
    name="murmur",
    cls=CommandGroup,
    help="Murmuration: speech to text on your own machines.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        print(f"murmur {__version__}{_commit()}")
        raise typer.Exit


def _commit() -> str:
    """The commit in brackets, where the platform is here and something says which it is."""
    enable()
    try:
        made = importlib.import_module("transcription.observability.build").build()
    except ModuleNotFoundError:
        return ""
    return "" if made.commit == "unknown" else f" (commit {made.commit[:12]})"


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Speech to text on your own machines."""


def main() -> None:
    """Run a command; whatever goes wrong is one sentence on standard error and an exit status."""
    try:
        app(prog_name="murmur")
    except CliError as error:
        fail(str(error), error.status)
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
