"""Audio for workers that share no disk with the API; only signed links that are still good open anything."""

import time
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse

from api.auth.access import route_path
from api.dependencies import PlatformDep
from transcription.errors import BlobDamaged, BlobMissing, Forbidden, JobNotFound
from transcription.storage.signed_links import valid


async def _signed(
    platform: PlatformDep,
    request: Request,
    *,
    expires: Annotated[int, Query()] = 0,
    signature: Annotated[str, Query(max_length=64)] = "",
) -> None:
    secret = platform.settings.blobs.secret
    what = f"{request.method} {route_path(request.scope)}"
    if secret is None or not valid(
        secret.get_secret_value(), what, expires=expires, signature=signature, now=time.time()
    ):
        raise Forbidden(
            "this takes a signed link that is still good; MURMUR_BLOBS__SECRET must be the same here and there"
        )


router = APIRouter(prefix="/internal/blobs", include_in_schema=False, dependencies=[Depends(_signed)])


@router.get("/{sha256}")
async def fetch(request: Request, platform: PlatformDep, sha256: str) -> FileResponse:
    """The audio of a SHA-256."""
    try:
        path = await run_in_threadpool(platform.submissions.blobs.fetch, sha256)
    except BlobMissing as error:
        raise JobNotFound(error.message) from error
    await request.app.state.policy.log.write("read audio", audio=sha256)
    return FileResponse(path, media_type="application/octet-stream")


@router.post("/{sha256}/verify", status_code=204)
async def check(platform: PlatformDep, sha256: str) -> None:
    """Compare the audio with its SHA-256, and set it aside if it isn't that recording."""
    blobs = platform.submissions.blobs

    def verify() -> None:
        with suppress(BlobMissing, BlobDamaged):
            blobs.check(sha256)

    await run_in_threadpool(verify)


@router.get("")
async def old(platform: PlatformDep) -> list[str]:
    """Audio that has been here for so long that some job should need it; unfinished uploads of that age are deleted."""
    return await run_in_threadpool(platform.submissions.blobs.old, older_than_s=platform.settings.retention.orphan_s)


@router.delete("/{sha256}", status_code=204)
async def discard(platform: PlatformDep, sha256: str) -> None:
    """Delete the audio, unless it has come in again lately."""
    await run_in_threadpool(
        platform.submissions.blobs.discard, sha256, older_than_s=platform.settings.retention.orphan_s
    )
