"""What a worker says of its models' weights, and that they have changed."""

import threading
from collections.abc import Callable, Sequence

import structlog

log = structlog.get_logger()

LOOK_INTERVAL_S = 5.0


class Revisions(threading.Thread):
    """Looks again and again, so that whoever says that the worker lives needn't read gigabytes for it."""

    def __init__(self, revision: Callable[[str], str], models: Sequence[str]) -> None:
        """*revision* gives that of a model's weights, empty where it isn't known."""
        super().__init__(name="revisions", daemon=True)
        self._revision = revision
        self._models = models
        self.known: dict[str, str] = {}

    def check(self) -> None:
        """Check once."""
        found = {model: self._revision(model) for model in self._models}
        known = {model: revision for model, revision in found.items() if revision}
        if known != self.known:
            log.info("weights", **known)
            self.known = known

    def run(self) -> None:
        """Look as long as the process lives."""
        pause = threading.Event()
        while not pause.wait(LOOK_INTERVAL_S):
            try:
                self.check()
            except Exception:
                log.exception("the models' weights can't be checked")
