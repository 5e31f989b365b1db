"""The API in this process with keys and limits from a real Redis, its jobs in memory: for tests of who may do what."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr
from redis import Redis

from api.app import create_app
from tests import audio_files, in_process
from tests.api_client import Bench
from tests.memory_jobs import MemoryJobs, MemoryQueue
from transcription.access import Scope
from transcription.ledger.tenants.api_keys import ApiKeyStore
from transcription.settings import Api, Ledger, Limits, Security, Settings

WAV = audio_files.wav(0.2)
LAN = ("10.0.0.7", 4000)


def settings_for(redis_url: str, root: Path, **security: Any) -> Settings:
    """Settings with keys required, unless *security* says otherwise. Nobody sweeps but the test."""
    return Settings(
        model="demo",
        data_dir=root,
        api=Api(housekeeping=False),
        ledger=Ledger(url=SecretStr(redis_url)),
        limits=Limits(min_free_disk_bytes=0, max_memory_percent=100),
        security=Security.model_validate({"require_keys": True, **security}),
    )


@asynccontextmanager
async def secured(
    settings: Settings, *, address: tuple[str, int] = LAN, jobs: MemoryJobs | None = None, sandboxed: bool = False
) -> AsyncIterator[Bench]:
    """Run the API's lifespan around a client that comes from *address*; *jobs*: a ledger of its own kind."""
    jobs, queue = jobs or MemoryJobs(), MemoryQueue()
    app = create_app(settings, jobs=jobs, queue=queue, probe=None if sandboxed else in_process.look(settings))
    transport = httpx.ASGITransport(app, client=address)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
    ):
        yield Bench(app=app, http=http, jobs=jobs, queue=queue, root=settings.data_dir, settings=settings)


@contextmanager
def key_store(redis_url: str, *, by: str = "") -> Iterator[ApiKeyStore]:
    """Where keys are made."""
    with Redis.from_url(redis_url, decode_responses=True) as client:
        yield ApiKeyStore(client, by=by)


def bearer(redis_url: str, tenant: str = "acme", *scopes: Scope, tier: str = "") -> dict[str, str]:
    """The header of a new key."""
    with key_store(redis_url) as keys:
        _, secret = keys.create(
            name="test", tenant=tenant, scopes=frozenset(scopes or (Scope.SUBMIT, Scope.READ)), tier=tier
        )
    return {"Authorization": f"Bearer {secret}"}
