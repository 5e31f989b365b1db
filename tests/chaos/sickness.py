"""Faults of a storm that aren't a process's death: what is sick, full, hung, poisonous or damaged, and its end."""

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from tests.chaos.flock import Client
from tests.chaos.recordings import recording

if TYPE_CHECKING:
    from tests.chaos.storm import Storm

OUTAGE_S = 6.0


def sickness(storm: "Storm", dice: random.Random) -> list[tuple[str, Callable[[], None]]]:
    """Each kind of fault once."""
    return [
        ("take the audio's store away", lambda: _store_away(storm)),
        ("take the scratch disk away", lambda: _scratch_away(storm)),
        ("start a worker without its data", lambda: _sick_worker(storm, dice)),
        ("use the ledger's memory up", lambda: _full(storm)),
        ("damage audio that waits", lambda: _damage(storm, dice)),
        ("submit a poison", lambda: _poison(storm, "exit")),
        ("submit what hangs", lambda: _poison(storm, "hang")),
    ]


def _store_away(storm: "Storm") -> None:
    blobs = storm.flock.settings.blob_dir
    away = blobs.with_name("away")
    blobs.rename(away)
    time.sleep(OUTAGE_S)
    if blobs.exists():  # an upload came in meanwhile: what it kept belongs to the others
        for path in blobs.rglob("*"):
            if path.is_file():
                target = away / path.relative_to(blobs)
                target.parent.mkdir(parents=True, exist_ok=True)
                path.rename(target)
        blobs.rename(blobs.with_name(f"emptied-{time.monotonic_ns()}"))
    away.rename(blobs)


def _scratch_away(storm: "Storm") -> None:
    pcm = storm.flock.settings.pcm_dir
    pcm.mkdir(exist_ok=True)
    away = pcm.with_name("pcm-away")
    pcm.rename(away)
    pcm.write_bytes(b"")
    time.sleep(OUTAGE_S)
    pcm.unlink()
    away.rename(pcm)


def _sick_worker(storm: "Storm", dice: random.Random) -> None:
    flock = storm.flock
    name = dice.choice(flock.workers)
    flock.env[name] = {"MURMUR_DATA_DIR": str(flock.directory / "not mounted")}
    flock.kill(name)
    storm.deaths.append((f"{name}@", time.time()))
    flock.start(name)
    time.sleep(2 * OUTAGE_S)
    del flock.env[name]
    flock.kill(name)
    storm.deaths.append((f"{name}@", time.time()))
    flock.start(name)


def _full(storm: "Storm") -> None:
    try:
        with storm.flock.redis() as redis:
            redis.config_set("maxmemory", max(1, int(redis.info("memory")["used_memory"]) - 100_000))
            time.sleep(OUTAGE_S)
            redis.config_set("maxmemory", 0)
    except RedisError:
        return


def _damage(storm: "Storm", dice: random.Random) -> None:
    """Cut the audio of a job that nobody works on, and have its client send the recording again."""
    flock, number = storm.flock, dice.randrange(10**6)
    client, audio = Client(flock), recording(10_000 + number, 5)
    job_id = client.submit(audio, key=f"damaged-{number}")
    sha256 = str(client.job(job_id)["audio"]["sha256"])  # type: ignore[index]
    path = flock.settings.blob_dir / sha256[:2] / sha256
    if path.exists():
        path.write_bytes(audio[: len(audio) // 2])
    time.sleep(1)  # fine: how long the damaged bytes lie there
    again = client.submit(audio, key=f"damaged-again-{number}")
    storm.repaired.append((job_id, again, audio))
    client.close()


def _poison(storm: "Storm", crime: str) -> None:
    client = Client(storm.flock)
    number = len(storm.poisons)
    storm.poisons.append(client.submit(recording(20_000 + number, 3), key=f"poison-{number}", prompt=crime))
    client.close()
