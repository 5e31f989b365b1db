"""
A process of the API that would change the ledger's layout waits until the release before has stopped serving.

deploy/roll.sh does it: it holds the step back, starts new replicas, waits until each has written `WAITS`, has them
listen by writing `LISTEN`, stops the old ones, and releases the step. So nginx finds nobody listening here while the
old ones serve, and asks them; then it waits for an answer for the moment that the release takes.
"""

import contextlib
import os
import socket
import tempfile
import time
from pathlib import Path

import structlog

from api.processes import BACKLOG
from transcription.errors import LedgerUnavailable
from transcription.ledger import schema_step
from transcription.ledger.connections.clients import connect
from transcription.settings import Settings

WAITS, LISTEN = "murmur-waits", "murmur-listen"
"""Files in the directory for temporary ones."""

LOOK_S = 0.05
PATIENCE_S = 1.0


def wait_for_turn(settings: Settings, listener: socket.socket, *, folder: Path | None = None) -> None:
    """Return when this release may serve: at once, unless it has a step to do that is held back."""
    folder = folder or Path(tempfile.gettempdir())
    client = connect(settings.ledger, timeout_s=PATIENCE_S)
    # Who can't be asked holds nothing back: the API says itself what is wrong with it.
    with contextlib.closing(client), contextlib.suppress(LedgerUnavailable):
        if not schema_step.must_wait(client):
            return
        log = structlog.get_logger("api.takeover")
        log.info("waits until the release before has stopped", schema=schema_step.ours())
        (folder / WAITS).write_text(str(os.getpid()))
        listens = False
        while schema_step.must_wait(client):
            if not listens and (folder / LISTEN).exists():
                listener.listen(BACKLOG)
                listens = True
            time.sleep(LOOK_S)
        log.info("takes over")
