"""The API in this process, with its ledger in memory: for tests of what HTTP says."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from fastapi import FastAPI

from api.app import create_app
from tests import in_process
from tests.memory_jobs import MemoryJobs, MemoryQueue
from transcription.settings import Api, Limits, Settings


@dataclass
class Bench:
    """A client and what it talks to."""

    app: FastAPI
    http: httpx.AsyncClient
    jobs: MemoryJobs
    queue: MemoryQueue
    root: Path
    settings: Settings = field(repr=False)

    def leftovers(self) -> list[str]:
        """Every file under the data directory."""
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file())

    def forget_backlog(self) -> None:
        """Let the next request look at the ledger, not at what was seen within the last second."""
        self.app.state.platform.backlog._known = None

    async def submit(self, audio: bytes, *, name: str = "talk.wav", **options: str) -> httpx.Response:
        """Hand in a recording as a form."""
        return await self.http.post("/v1/jobs", files={"file": (name, audio)}, data=options)


@asynccontextmanager
async def bench(root: Path, *, api: Api | None = None, **limits: float) -> AsyncIterator[Bench]:
    """Run the API's lifespan around a client."""
    limited = Limits.model_validate({"min_free_disk_bytes": 0, "max_memory_percent": 100.0, **limits})
    settings = Settings(model="demo", data_dir=root, limits=limited, api=api or Api())
    jobs, queue = MemoryJobs(), MemoryQueue()
    app = create_app(settings, jobs=jobs, queue=queue, probe=in_process.look(settings))
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
    ):
        yield Bench(app=app, http=http, jobs=jobs, queue=queue, root=root, settings=settings)
