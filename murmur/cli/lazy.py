"""The command line's group: a command is loaded when it is asked for."""

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from murmur.errors import CliError
from murmur.packages import enable

CLIENT = {
    "transcribe": "murmur.cli.recordings.commands",
    "watch": "murmur.cli.recordings.commands",
    "jobs": "murmur.cli.jobs",
    "status": "murmur.cli.jobs",
    "result": "murmur.cli.jobs",
    "follow": "murmur.cli.jobs",
    "cancel": "murmur.cli.jobs",
    "delete": "murmur.cli.jobs",
    "purge": "murmur.cli.jobs",
    "top": "murmur.cli.top",
    "dead": "murmur.cli.dead",
    "webhooks": "murmur.cli.webhooks",
}
PLATFORM = {
    "up": "murmur.cli.local.commands",
    "demo": "murmur.cli.local.commands",
    "check": "murmur.cli.local.commands",
    "purge-tenant": "murmur.cli.ledger.tenant",
    "models": "murmur.cli.local.commands",
    "keys": "murmur.cli.ledger.keys",
    "audit": "murmur.cli.ledger.audit",
    "backup": "murmur.cli.ledger.backup",
    "schema": "murmur.cli.ledger.schema",
    "worker": "murmur.platform.worker",
}
"""What needs the platform's packages."""
MODULES = CLIENT | PLATFORM
"""
The module of each command; it has the command as COMMANDS[name].

A second passes while all of them are imported, in which one of them is long done.
"""


class CommandGroup(TyperGroup):
    """Has all commands."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  click gives it
        """The names of all commands, the client's first."""
        return [*MODULES]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command; None: there is none of that name."""
        if cmd_name not in self.commands:
            # All of them for a name that there isn't, so that the message can say what was meant.
            for name in [cmd_name] if cmd_name in MODULES else MODULES:
                self.add_command(_loaded(name), name)
        return super().get_command(ctx, cmd_name)


def _loaded(name: str) -> Any:
    if name in PLATFORM:
        enable()
    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    try:
        found = import_module(MODULES[name]).COMMANDS[name]
    except ModuleNotFoundError as error:
        if name not in PLATFORM:
            raise
        _missing(app, name, f"there is no module {error.name}")
        return get_command(app)
    if isinstance(found, typer.Typer):
        app.add_typer(found, name=name)
        return get_command(app).commands[name]  # type: ignore[attr-defined]
    app.command(name)(found)
    return get_command(app)


def _missing(app: typer.Typer, name: str, why: str) -> None:
    """A command in the place of one that can't be loaded, which says how to get it."""

    def command(_: Annotated[list[str] | None, typer.Argument(metavar="…")] = None) -> None:
        raise CliError(f"`murmur {name}` needs the platform: pip install '/path/to/the/checkout[local]' ({why})")

    settings = {"ignore_unknown_options": True, "allow_extra_args": True}
    app.command(name, help="Not here: it needs the platform's packages.", context_settings=settings)(command)
