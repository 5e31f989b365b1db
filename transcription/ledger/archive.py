"""What a finished computation leaves the ledger for: its texts and events, packed for the result store."""

import asyncio
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import orjson

from transcription.errors import ResultLost
from transcription.ledger.scripts import Scripts, pairs
from transcription.ports import ResultStore

LEVEL = 6
THREADS = 8


@dataclass(frozen=True, slots=True)
class Archive:
    """A computation's hash as it was, the windows of each span, and its events, each its id and its fields."""

    comp: dict[str, str]
    spans: list[list[str]]
    events: list[tuple[str, dict[str, str]]]

    def window(self, fields: dict[str, str]) -> str:
        """The segments (JSON) that an event speaks of; empty where it is of something else."""
        if fields["kind"] != "window":
            return ""
        span, window = int(fields["span"]), int(fields["window"])
        return self.spans[span][window] if span < len(self.spans) and window < len(self.spans[span]) else ""


class ArchiveReader:
    """
    Reads what has left the ledger; a result that is lost answers for no further job.

    In threads of its own: a share that hangs holds none that other answers wait for.
    """

    def __init__(self, results: ResultStore | None, scripts: Scripts) -> None:
        self._results = results
        self._scripts = scripts
        self._threads = ThreadPoolExecutor(THREADS, "results")

    async def read(self, computation: str) -> Archive:
        """The archive of a computation. ResultLost, StorageUnavailable."""
        try:
            data = await asyncio.get_running_loop().run_in_executor(self._threads, self._stored, computation)
            return await asyncio.to_thread(unpacked, computation, data)
        except ResultLost:
            await self._scripts.call("uncache", computation)
            raise

    async def delete(self, computation: str) -> None:
        """Delete the archive of a computation. StorageUnavailable."""
        if self._results is not None:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._results.delete, computation)

    async def whole(
        self, computation: str, comp: dict[str, str], spans: list[list[str]]
    ) -> tuple[dict[str, str], list[list[str]]]:
        """A computation's hash and windows: as the ledger gave them, or, where they have left it, the archive's."""
        if "archived" not in comp:
            return comp, spans
        archive = await self.read(computation)
        return archive.comp, archive.spans

    def _stored(self, computation: str) -> bytes:
        if self._results is None:
            raise ResultLost("the results that have left the ledger can't be read here: there is no result store")
        return self._results.read(computation)


def packed(answer: Sequence[Any]) -> bytes:
    """What the script `whole` returns, as it is stored."""
    comp, events, *spans = answer
    shape = {"comp": pairs(comp), "events": [[entry, pairs(fields)] for entry, fields in events], "spans": spans}
    return zlib.compress(orjson.dumps(shape), LEVEL)


def unpacked(name: str, data: bytes) -> Archive:
    """The archive of a computation. ResultLost: it isn't as it was written."""
    try:
        shape = orjson.loads(zlib.decompress(data))
        found = Archive(shape["comp"], shape["spans"], [(entry, fields) for entry, fields in shape["events"]])
        whose = found.comp["id"]
    except (zlib.error, ValueError, KeyError, TypeError) as error:
        raise ResultLost(f"the stored result of computation {name} can't be read: {error}") from error
    if whose != name:
        raise ResultLost(f"what is stored as the result of computation {name} is another one's")
    return found
