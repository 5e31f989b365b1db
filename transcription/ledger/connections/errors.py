"""What Redis' errors mean: to a client of the platform, and to the code that looks whether a step was done."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import structlog
from redis.exceptions import BusyLoadingError, MaxConnectionsError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from transcription.errors import LedgerFault, LedgerTooNew, LedgerUnavailable
from transcription.ledger.connections.fail_fast import NotSent

RETRY_AFTER_S = 5
UPGRADE_AFTER_S = 60
log = structlog.get_logger()

_TOO_NEW = re.compile(r"LEDGERTOONEW (\d+) (\d+)")
# redis-py says so only in words: "Error 111 connecting to …", "Timeout connecting to server".
_NOT_CONNECTED = re.compile(r"connecting to |No connection available")


def unavailable(error: RedisError | OSError) -> NoReturn:
    """Raise *error* as what it means to a client."""
    too_new = _TOO_NEW.search(str(error))
    if too_new:
        raise LedgerTooNew(
            f"the ledger has schema version {too_new[1]}; this release reads up to {too_new[2]}: start the release "
            "that wrote it, or restore a backup",
            retry_after_s=UPGRADE_AFTER_S,
        ) from error
    if is_fault(error):
        script = next(iter(getattr(error, "__notes__", [])), "no script")
        # A pipeline's error begins with the whole command, and that may hold a prompt.
        log.error("the ledger failed", script=script, error=str(error).rpartition("caused error: ")[2][:500])
        raise LedgerFault(
            f"a step of the ledger ({script}) failed by its own fault; the log has the reason",
            retry_after_s=RETRY_AFTER_S,
        ) from error
    said = "nothing was changed" if unchanged(error) else "if this was to change anything, look whether it did"
    raise LedgerUnavailable(
        f"the ledger can't be reached or can't write now ({type(error).__name__}); {said}",
        retry_after_s=RETRY_AFTER_S,
    ) from error


def unchanged(error: BaseException) -> bool:
    """Whether *error* says that a command had no effect: it was never sent, or the server refused it."""
    if isinstance(error, RedisConnectionError | RedisTimeoutError):
        never_sent = isinstance(error, NotSent | BusyLoadingError | MaxConnectionsError)
        return never_sent or _NOT_CONNECTED.search(str(error)) is not None
    return isinstance(error, ResponseError) and not is_fault(error)


def too_new(error: BaseException) -> bool:
    """Whether the ledger is a newer version's."""
    return _TOO_NEW.search(str(error)) is not None


def is_fault(error: RedisError | OSError) -> bool:
    """Whether *error* says that a step itself was wrong: a script's own error, a key of the wrong kind."""
    # The server's other refusals (MISCONF, BUSY, NOREPLICAS, OOM, …) have a code of their own, and pass.
    return type(error) is ResponseError and (error.status_code == "ERR" or "WRONGTYPE" in str(error))


@contextmanager
def translated() -> Iterator[None]:
    """Errors of Redis inside the block become LedgerUnavailable."""
    try:
        yield
    except (RedisError, OSError) as error:
        unavailable(error)
