"""
What a list of jobs costs the ledger's only thread, however many wait: `python -m bench.ledger.lists`.

Milliseconds of the server's processor for one call, the mean of many; the last column is one job that waits behind all.
"""

import asyncio
import tempfile
from pathlib import Path

from pydantic import SecretStr
from redis import Redis

from tests.platform import running_ledger
from transcription.job import Audio, Submission
from transcription.ledger.connections.clients import connect_async
from transcription.ledger.jobs.job_store import RedisJobs
from transcription.options import Options
from transcription.settings import Ledger, Settings

WAITING = (0, 200, 10_000)
CALLS = 200
LIMITS = (1, 50, 200)


def job(number: int) -> Submission:
    """One of many different ones."""
    audio = Audio(sha256=f"{number:064x}", bytes=1000, duration_s=60.0, filename="a.wav")
    return Submission(
        job_id=f"{number:032x}", tenant="default", audio=audio, model="demo", revision="1", options=Options(),
        idempotency_key=None,
    )  # fmt: skip


def server_ms(redis: Redis) -> float:
    """The server's time on its processor so far."""
    cpu = redis.info("cpu")
    return 1000 * (float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"]))


async def row(settings: Settings, redis: Redis, waiting: int) -> list[str]:
    """One row of the table."""
    jobs = RedisJobs(connect_async(settings.ledger), settings)
    try:
        for number in range(waiting):
            await jobs.submit(job(number))
        cells = [f"{waiting:,}"]
        for limit in LIMITS:
            before = server_ms(redis)
            for _ in range(CALLS):
                await jobs.list(tenant="default", status=None, limit=limit, cursor=None)
            cells.append(f"{(server_ms(redis) - before) / CALLS:.3f}")
        before = server_ms(redis)
        for _ in range(CALLS if waiting else 0):
            await jobs.get(job(waiting - 1).job_id, tenant="default")
        cells.append(f"{(server_ms(redis) - before) / CALLS:.3f}" if waiting else "–")
        return cells
    finally:
        await jobs.close()


def main() -> None:
    """Print a table."""
    print(f"| jobs that wait | {' | '.join(f'list, limit={limit}' for limit in LIMITS)} | one job |")
    print(f"|{'---|' * (len(LIMITS) + 2)}")
    with (
        tempfile.TemporaryDirectory() as folder,
        running_ledger(Path(folder)) as server,
        Redis.from_url(server.url) as r,
    ):
        settings = Settings(ledger=Ledger(url=SecretStr(server.url), timeout_s=30), data_dir=Path(folder))
        for waiting in WAITING:
            r.flushall()
            print(f"| {' | '.join(asyncio.run(row(settings, r, waiting)))} |", flush=True)


if __name__ == "__main__":
    main()
