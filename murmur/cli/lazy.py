"""The command line's group: commands of the platform are loaded when they are asked for."""

from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from murmur.errors import CliError
from murmur.packages import enable

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
"""
What needs the platform's packages, and the module of each; it has the command as COMMANDS[name].

Half a second passes while all of them are imported, in which a client's command is long done.
"""


class CommandGroup(TyperGroup):
    """Has what was added to it, and the platform's commands."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of all commands, the client's first."""
        return [*super().list_commands(ctx), *PLATFORM]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command; None: there is none of that name."""
        if cmd_name not in self.commands:
            # All of them for a name that there isn't, so that the message can say what was meant.
            for name in [cmd_name] if cmd_name in PLATFORM else PLATFORM:
                self.add_command(_loaded(name), name)
        return super().get_command(ctx, cmd_name)


def _loaded(name: str) -> Any:
    enable()
    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    try:
        found = import_module(PLATFORM[name]).COMMANDS[name]
    except ModuleNotFoundError as error:
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
        raise CliError(f"`murmur {name}` needs the platform: pip install 'murmuration-asr[local]' ({why})")

    settings = {"ignore_unknown_options": True, "allow_extra_args": True}
    app.command(name, help="Not here: it needs the platform's packages.", context_settings=settings)(command)
