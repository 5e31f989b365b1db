"""When a call is tried again: while the platform is away or busy, for as long as the client is patient."""

import random
import time

import httpx

from murmur.client.errors import ApiError

BUSY = (429, 502, 503, 504)
PATIENCE_S = 60.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0


class Patience:
    """
    One call's, or one stream's, as long as it gets nowhere: counted from its first failure.

    A later try that lasts long and then breaks, an upload or a quiet stream, costs none; one that waits in vain does.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.renew()

    def renew(self) -> None:
        """There was an answer: begin anew."""
        self._deadline: float | None = None
        self._resumed = 0.0
        self._pause = FIRST_PAUSE_S

    def pause_after(self, error: ApiError) -> float:
        """Seconds to rest before another try. Raises *error* where none makes sense, or patience has run out."""
        if error.status and error.status not in BUSY:
            raise error
        now = time.monotonic()
        lasted = now - self._resumed
        if self._deadline is None:
            self._deadline = now + self._seconds
        elif lasted > LONGEST_PAUSE_S and not isinstance(error.__cause__, httpx.TimeoutException):
            self._deadline += lasted
        # Not all at the same moment, when a platform comes back.
        pause = self._pause * random.uniform(0.75, 1.25) if error.retry_after is None else error.retry_after
        if now + pause >= self._deadline:
            raise error
        self._resumed = now + pause
        self._pause = min(2 * self._pause, LONGEST_PAUSE_S)
        return pause
