"""A server that puts a `root_path` before every path opens nothing, and workers' signed links work below it."""

import time
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from api.app import create_app
from tests import in_process
from tests.memory_jobs import MemoryJobs, MemoryQueue
from tests.secured_api import LAN, bearer, settings_for
from transcription.access import Scope
from transcription.settings import Blobs
from transcription.storage.signed_links import ROOT, sign

pytestmark = pytest.mark.anyio
SECRET = "long enough to be a secret"
PATHS = (
    "/v1/jobs", "/v1/models", "/v1/jobs/none", "/metrics", "/metrics/ledger", "/stats", "/admin/dead-letters", "/docs",
    "/openapi.json", "/health", "/health/async", "/internal/blobs",
)  # fmt: skip


@pytest.mark.parametrize("root", ["/murmur", "/internal", "/static", "/health", "/v1"])
async def test_nobody_may_more_below_a_root_path(redis_url: str, tmp_path: Path, root: str) -> None:
    settings = settings_for(redis_url, tmp_path, metrics="key", stats="key", docs="key")
    settings = settings.model_copy(update={"blobs": Blobs(secret=SecretStr(SECRET))})
    tenant = bearer(redis_url, "acme", Scope.SUBMIT, Scope.READ, Scope.ADMIN)
    app = create_app(settings, jobs=MemoryJobs(), queue=MemoryQueue(), probe=in_process.look(settings))
    async with app.router.lifespan_context(app):
        below, above = (
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app, client=LAN, root_path=path), base_url="http://localhost"
            )
            for path in (root, "")
        )
        for path in PATHS:
            for method in ("GET", "POST", "DELETE"):
                for key in ({}, tenant):
                    expected = await above.request(method, path, headers=key)
                    found = await below.request(method, root + path, headers=key)
                    assert found.status_code == expected.status_code, (method, path, bool(key))
        expires = int(time.time() + 60)
        link = {"expires": expires, "signature": sign(SECRET, f"GET {ROOT}", expires)}
        assert (await below.get(root + ROOT, params=link)).status_code == 200
