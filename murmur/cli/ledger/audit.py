"""`murmur audit`: whether an audit log is what was written."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from murmur.cli.json_output import AsJson, print_json
from murmur.cli.ledger.connection import DataDir, Ledger, connected
from murmur.errors import CliError
from transcription.ledger.audit_heads import heads
from transcription.observability.audit_chain import Head, verify

app = typer.Typer(help="The audit log: check that nobody has changed it.", no_args_is_help=True)
_MOST_SHOWN = 20


@app.callback()
def audit() -> None:
    """The audit log: check that nobody has changed it."""


@app.command("verify")
def verify_log(
    files: Annotated[list[Path], typer.Argument(help="The log's files, the oldest first; `-`: standard input.")],
    ledger: Ledger = None,
    data_dir: DataDir = None,
    alone: Annotated[
        bool, typer.Option("--alone", help="Don't ask the ledger; then missing lines at the end aren't found.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check whether a line was changed, removed or added, and whether the end is missing."""
    known = None
    if not alone:
        with connected(ledger, data_dir) as (client, _):
            known = {chain: Head(*head) for chain, head in heads(client).items()}
    found = verify(_lines(files), known)
    if as_json:
        facts = {"lines": found.lines, "chains": len(found.chains), "problems": [str(one) for one in found.problems]}
        print_json(facts)
        if found.problems:
            raise typer.Exit(1)
        return
    for problem in found.problems[:_MOST_SHOWN]:
        print(problem, file=sys.stderr)
    if found.problems:
        raise CliError(f"{len(found.problems)} faults in {found.lines} lines", status=1)
    print(f"{found.lines} lines in {len(found.chains)} chains are as they were written")


def _lines(files: list[Path]) -> Iterator[bytes]:
    with ExitStack() as stack:
        for path in files:
            if str(path) == "-":
                # A container's log has other lines too.
                yield from (line for line in sys.stdin.buffer if b',"chain":"' in line)
            else:
                yield from stack.enter_context(path.open("rb"))


COMMANDS = {"audit": app}
