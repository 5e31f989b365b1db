"""What commands straight against the ledger share: which ledger it is, a client of it, and who types."""

import getpass
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr
from redis import Redis

from murmur.errors import CliError
from murmur.platform import ledger_server
from murmur.platform.environment import load
from transcription.errors import LedgerUnavailable
from transcription.ledger.connections.clients import connect
from transcription.settings import Settings

Ledger = Annotated[str | None, typer.Option(help="The ledger's Redis URL [that of `murmur up`].")]
DataDir = Annotated[Path | None, typer.Option(help="Where `murmur up` keeps its ledger [~/.murmur].")]


@contextmanager
def connected(url: str | None, data_dir: Path | None, *, timeout_s: float = 10) -> Iterator[tuple[Redis, Settings]]:
    """A client of the ledger that *url* names, else of the one that the settings or `murmur up` name."""
    settings = load({"ledger": {"url": url}, "data_dir": data_dir})
    ledger = settings.ledger
    own = ledger_server.running_in(settings.data_dir / "ledger")
    if own and "url" not in ledger.model_fields_set:
        ledger = ledger.model_copy(update={"url": SecretStr(own)})
        settings = settings.model_copy(update={"ledger": ledger})
    client = connect(ledger, timeout_s=timeout_s)
    try:
        yield client, settings
    except LedgerUnavailable as error:
        raise CliError(f"{error.message}; --ledger or MURMUR_LEDGER__URL says where it is", status=1) from error
    finally:
        client.close()


def operator() -> str:
    """Who types this command, as the machine knows him."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):
        return f"{os.getuid()}@{socket.gethostname()}"
