"""Moving windows in Redis: a request is counted against all of its limits, and told what is left, in one call."""

from collections.abc import Sequence
from dataclasses import dataclass

from redis.asyncio import BlockingConnectionPool, Redis

# The library that counts in memory has the same lists in Redis, and asks a second time for what is left.
_COUNT = """
-- KEYS: for each limit the times of its requests, the newest first.
-- ARGV: now, then for each limit how many requests it allows within how many seconds.
-- Returns three values for each limit, up to the first that is reached: whether the request was counted, the oldest
-- time in the window, how many requests are in it.
local now, out = tonumber(ARGV[1]), {}
for n, key in ipairs(KEYS) do
  local limit, from = tonumber(ARGV[2 * n]), now - tonumber(ARGV[2 * n + 1])
  local oldest, count = redis.call('LINDEX', key, limit - 1), limit
  local full = oldest and tonumber(oldest) >= from
  if not full then
    redis.call('LPUSH', key, ARGV[1])
    redis.call('LTRIM', key, 0, limit - 1)
    redis.call('EXPIRE', key, ARGV[2 * n + 1])
    oldest, count = ARGV[1], 1
    local low, high = 1, redis.call('LLEN', key) - 1
    while low <= high do
      local middle = math.floor((low + high) / 2)
      local time = redis.call('LINDEX', key, middle)
      if tonumber(time) >= from then
        oldest, count, low = time, middle + 1, middle + 1
      else
        high = middle - 1
      end
    end
  end
  out[#out + 1] = full and 0 or 1
  out[#out + 1] = oldest
  out[#out + 1] = count
  if full then break end
end
return out
"""


@dataclass(frozen=True, slots=True)
class Window:
    """A limit of *allowed* requests in *seconds*, counted in the list *key*."""

    key: str
    allowed: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Counted:
    """Whether a request was within a limit; when its window ends (Unix seconds), and how many are left in it."""

    within: bool
    ends_at: float
    left: int


class MovingWindows:
    """Counts in Redis. No burst fits between two windows."""

    def __init__(self, pool: BlockingConnectionPool) -> None:
        self._script = Redis(connection_pool=pool).register_script(_COUNT)

    async def count(self, windows: Sequence[Window], *, now: float) -> list[Counted]:
        """
        Count a request at *now* (Unix seconds) against *windows*, up to the first that is full.

        That one's answer is the last. RedisError.
        """
        limits = [value for window in windows for value in (window.allowed, window.seconds)]
        found = await self._script(keys=[window.key for window in windows], args=[now, *limits])
        answers = zip(windows, found[::3], found[1::3], found[2::3], strict=False)
        return [
            Counted(bool(within), float(oldest) + window.seconds, window.allowed - count)
            for window, within, oldest, count in answers
        ]
