"""`murmur schema`: the version of the ledger's layout. Straight against the ledger, for scripts that upgrade."""

import typer

from murmur.cli.json_output import AsJson, print_json
from murmur.cli.ledger.connection import DataDir, Ledger, connected
from murmur.errors import CliError
from transcription.ledger import schema_step

app = typer.Typer(help="The version of the ledger's layout, and when a newer release may change it.")


@app.callback(invoke_without_command=True)
def show(context: typer.Context, ledger: Ledger = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show the ledger's version and this release's."""
    if context.invoked_subcommand:
        return
    with connected(ledger, data_dir) as (client, _):
        found = schema_step.theirs(client)
    if as_json:
        print_json({"ledger": found, "release": schema_step.ours()})
    else:
        print(f"ledger: {found or 'empty'}; this release: {schema_step.ours()}")


@app.command("hold")
def hold(ledger: Ledger = None, data_dir: DataDir = None) -> None:
    """Have this release's API wait before it changes the ledger: `held`; or `same`: it changes nothing."""
    with connected(ledger, data_dir) as (client, _):
        found, ours = schema_step.theirs(client), schema_step.ours()
        if found is not None and found < ours:
            schema_step.hold(client)
    if found is not None and found > ours:
        raise CliError(
            f"the ledger has schema version {found}, and this release reads up to {ours}: going back needs the backup "
            "from before the step",
            status=1,
        )
    print("same" if found in {None, ours} else "held")


@app.command("release")
def release(ledger: Ledger = None, data_dir: DataDir = None) -> None:
    """Change the ledger now, and let the API begin that waits for it."""
    with connected(ledger, data_dir, timeout_s=schema_step.LONGEST_HOLD_S) as (client, settings):
        schema_step.release(client, audit_length=settings.ledger.audit_length)


@app.command("cancel")
def cancel(ledger: Ledger = None, data_dir: DataDir = None) -> None:
    """Give the change up: the release before goes on, and nothing is held back."""
    with connected(ledger, data_dir) as (client, _):
        schema_step.cancel(client)


COMMANDS = {"schema": app}
