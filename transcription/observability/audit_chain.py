"""
Lines of an audit log that hang together, so that one that is changed, taken out or put in is found.

Each process writes a chain of its own: every line has the chain's name, its number in it, the hash of the line before,
and its own hash, last. Where the chains had got to is kept elsewhere (the ledger), so that a cut end is found too.
"""

import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

FIRST = "0" * 64
_LINE = re.compile(rb'(\{.*),"hash":"([0-9a-f]{64})"\}')


@dataclass(frozen=True, slots=True)
class Head:
    """How far a chain had got: the last line's number and hash, and when it was written (Unix seconds)."""

    number: int
    hash: str
    at: float


class Chain:
    """Makes lines of one process's chain; not thread-safe."""

    def __init__(self) -> None:
        self.name = secrets.token_hex(8)
        self.number = 0
        self.hash = FIRST

    def line(self, entry: Mapping[str, Any]) -> str:
        """The next line: *entry* as JSON with the chain's fields, the hash of all that before it last."""
        body = orjson.dumps({**entry, "chain": self.name, "n": self.number + 1, "prev": self.hash})
        self.hash = hashlib.sha256(body).hexdigest()
        self.number += 1
        return f'{body[:-1].decode()},"hash":"{self.hash}"}}'


@dataclass(slots=True)
class Verified:
    """What was found: how many ``lines`` hang together in how many ``chains``, and what is wrong, a sentence each."""

    lines: int = 0
    chains: dict[str, Head] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def verify(lines: Iterable[bytes], heads: Mapping[str, Head] | None = None) -> Verified:
    """
    Look whether *lines*, in their order, are what was written.

    Args:
        lines: Of one log, or of several after each other, the oldest first. Other lines, without a hash at their end
            as ours have, are told of.
        heads: How far the chains had got, by what is kept elsewhere.
    """
    found = Verified()
    known = {} if heads is None else dict(heads)
    began_at = float("inf")
    for number, raw in enumerate(lines, 1):
        line = raw.rstrip(b"\r\n")
        if not line:
            continue
        match = _LINE.fullmatch(line)
        if match is None or hashlib.sha256(match[1] + b"}").hexdigest() != match[2].decode():
            found.problems.append(f"line {number} isn't as it was written")
            continue
        entry = orjson.loads(match[1] + b"}")
        head = Head(entry["n"], match[2].decode(), _seconds(entry))
        began_at = min(began_at, head.at)
        found.problems += _follows(number, entry, found.chains.get(entry["chain"]))
        anchor = known.get(entry["chain"])
        if anchor and anchor.number == head.number and anchor.hash != head.hash:
            found.problems.append(f"line {number} isn't the one that the ledger knows")
        found.chains[entry["chain"]] = head
        found.lines += 1
    found.problems += [
        f"chain {chain}: its lines after number {last} are missing, up to {anchor.number} at least"
        for chain, anchor in known.items()
        if (last := found.chains[chain].number if chain in found.chains else 0) < anchor.number
        and (last or anchor.at >= began_at)
    ]
    return found


def _follows(number: int, entry: Mapping[str, Any], before: Head | None) -> list[str]:
    expected, prev = (before.number + 1, before.hash) if before else (1, FIRST)
    if entry["n"] != expected:
        return [f"line {number}: number {entry['n']} of chain {entry['chain']}, where {expected} should come"]
    return [] if entry["prev"] == prev else [f"line {number} doesn't follow the one before in its chain"]


def _seconds(entry: Mapping[str, Any]) -> float:
    try:
        return datetime.fromisoformat(str(entry.get("at"))).timestamp()
    except ValueError:
        return 0.0
