"""`murmur dead`: failed computations for which a retry might help, for an operator to retry or drop."""

from typing import Annotated

import typer

from murmur.cli.common import Url, connect
from murmur.cli.json_output import AsJson, print_json
from murmur.client.responses import RemoteDeadLetter

app = typer.Typer(help="Dead letters: failed computations for which a retry might help.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="COMPUTATION", help="The id that `murmur dead list` prints.")]


@app.command("list")
def list_dead(as_json: AsJson = False, url: Url = None) -> None:
    """List dead letters, the latest first."""
    with connect(url) as client:
        letters = client.dead_letters()
    if as_json:
        print_json([letter.model_dump(mode="json") for letter in letters])
        return
    # Lines, not a table: what is cut to a terminal's width can't be given to the next command.
    for letter in letters:
        died, jobs = letter.died_at.isoformat(" ", "seconds"), f"{len(letter.jobs)} jobs"
        print(letter.computation, died, letter.error.code, jobs, letter.audio.filename, sep="  ")


@app.command()
def show(computation: Name, as_json: AsJson = False, url: Url = None) -> None:
    """Show a dead letter: what happened, to which jobs, with which options."""
    with connect(url) as client:
        letter = client.dead_letter(computation)
    if as_json:
        print_json(letter)
        return
    for name, fact in _facts(letter).items():
        print(f"{name:<12}{fact}")


@app.command()
def retry(computation: Name, as_json: AsJson = False, url: Url = None) -> None:
    """Put a dead letter back into the queue, with every option of its jobs."""
    with connect(url) as client:
        client.retry_dead_letter(computation)
    if as_json:
        print_json({"computation": computation, "retried": True})


@app.command()
def drop(computation: Name, as_json: AsJson = False, url: Url = None) -> None:
    """Take a dead letter off the list; its jobs stay failed."""
    with connect(url) as client:
        client.drop_dead_letter(computation)
    if as_json:
        print_json({"computation": computation, "dropped": True})


def _facts(letter: RemoteDeadLetter) -> dict[str, str]:
    options = (f"{name}={value}" for name, value in letter.options.items() if value not in (None, "", False))
    return {
        "computation": letter.computation,
        "died": letter.died_at.isoformat(" ", "seconds"),
        "error": f"{letter.error.message} ({letter.error.code})",
        "to do": letter.advice,
        "attempts": str(letter.attempts),
        "model": letter.model,
        "options": " ".join(options),
        "audio": f"{letter.audio.duration_s:.1f} s {letter.audio.filename} {letter.audio.sha256}",
        "jobs": " ".join(letter.jobs),
    }


COMMANDS = {"dead": app}
