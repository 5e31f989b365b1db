"""`--json`: every command that answers something can answer it to a program."""

from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from murmur.cli.main import app

# What answers nothing: it runs until it is ended, does something on this Mac, or has formats of its own.
WITHOUT = {
    "schema hold", "schema release", "schema cancel",  # a word, for deploy/roll.sh
    "up", "demo", "worker", "worker install-service", "worker uninstall-service", "result", "watch",
    "backup schedule",
}  # fmt: skip


def commands(group: Any, *names: str) -> Iterator[tuple[str, Any]]:
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if hasattr(command, "commands"):
            yield from commands(command, *names, name)
        else:
            yield " ".join((*names, name)), command


COMMANDS = dict(commands(typer.main.get_command(app)))


def test_there_are_all_commands() -> None:
    assert {"jobs", "keys create", "webhooks log", "dead list", "models list", "worker status", "top"} <= set(COMMANDS)


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - WITHOUT))
def test_a_command_answers_in_json(name: str) -> None:
    assert "--json" in [option for parameter in COMMANDS[name].params for option in parameter.opts]
