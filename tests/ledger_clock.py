"""The ledger's clock, which tests can put forward: the scripts' own, and the ends of keys that the server keeps."""

import re

from redis import Redis

AHEAD = "tests:clock"
STOPPED = "tests:stopped"
_TIME = re.compile(r"redis\.call\('TIME'\)")
_SECONDS = f"(redis.call('GET', '{STOPPED}') or redis.call('TIME')[1])"
_MICROSECONDS = f"(redis.call('GET', '{STOPPED}') and 0 or redis.call('TIME')[2])"
_MOVED = f"{{ {_SECONDS} + (redis.call('GET', '{AHEAD}') or 0), {_MICROSECONDS} }}"


def moved(source: str) -> str:
    """A script whose clock is ahead by the seconds that the server has under ``AHEAD``, of now or of ``STOPPED``."""
    text, found = _TIME.subn(_MOVED, source)
    assert found, "the script looks at no clock; this file must learn how it knows the time"
    return text


class LedgerClock:
    """Lets time pass on the ledger's server, without waiting for it."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis

    def advance(self, seconds: float) -> None:
        """Let *seconds* pass: for the scripts, and for every key that ends by itself."""
        whole = round(seconds)
        assert whole == seconds, "whole seconds only"
        self.redis.incrby(AHEAD, whole)
        for key in self.redis.scan_iter(count=10_000):
            left = self.redis.pttl(key)
            if left > 0:
                # A key without time left is deleted by this.
                self.redis.pexpire(key, left - 1000 * whole)

    def stop(self) -> None:
        """Let no time pass for the scripts but what `advance` lets pass, however long a busy machine takes."""
        self.redis.set(STOPPED, int(self.redis.time()[0]) + 1)

    def today(self, second: int) -> None:
        """Put the clock forward to that second of the (next) day (UTC)."""
        now = int(self.redis.time()[0]) + int(self.redis.get(AHEAD) or 0)
        self.advance((second - now) % 86_400)
