"""The ledger's scripts as they are written: what their header says is what they do."""

import re
from importlib.resources import files
from pathlib import Path

import pytest

from transcription.ledger.scripts import source

LUA = Path(str(files("transcription.ledger") / "lua"))
SCRIPTS = sorted(path.stem for path in LUA.glob("*.lua") if path.stem != "schema")


def described() -> set[str]:
    """The first words of the keys that the header describes."""
    header = LUA.joinpath("shared/keys.lua").read_text("utf-8").partition("local P")[0]
    rows = re.findall(r"^--   ([a-z].*?)  +(?:hash|zset|set|list|string|stream|channel)\b", header, re.MULTILINE)
    rows += re.findall(r"^--   ([a-z]+:[A-Z]+) ", header, re.MULTILINE)
    return {name.strip().partition(":")[0] for row in rows for name in row.split(",")}


def test_the_header_describes_every_key_that_a_script_or_a_store_uses() -> None:
    used = {name for path in LUA.rglob("*.lua") for name in re.findall(r"\bk\('([a-z]+)'", path.read_text("utf-8"))}
    for path in LUA.parent.rglob("*.py"):
        used |= set(re.findall(r"\{PREFIX\}([a-z_]+)", path.read_text("utf-8")))
    # Earlier versions', which a migration reads and deletes.
    assert used - {"models", "lengths"} <= described(), used - described()
    assert described() <= used | {"changed", "solitary"}, described() - used  # the latter by ASIDE, and a channel


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_names_its_arguments_and_what_it_returns(name: str) -> None:
    head = LUA.joinpath(f"{name}.lua").read_text("utf-8").partition("\nlocal ")[0]
    assert "ARGV:" in head
    body = LUA.joinpath(f"{name}.lua").read_text("utf-8").splitlines()
    # Arguments get their names in the first lines; only those that come in any number stay without one.
    late = [line for line in body[15:] if re.search(r"ARGV\[\d", line)]
    assert not late


def test_a_script_comes_with_what_all_share() -> None:
    text = source("claim", 7)
    assert text.startswith("local AUDIT = 7\nlocal BOUNDS_S = { 1, 5, 15, 30, 60, 120, 300, 900, 3600, 14400 }")
    assert text.index("local P = KEYS[1]") < text.index("local VERSION") < text.index("next_suspect")
