"""Audio for workers that share no disk with the API; only signed links that are still good open anything."""

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse

from api.dependencies import Here
from transcription.errors import BlobMissing, Forbidden, JobNotFound
from transcription.infra.signed import valid


async def _signed(
    here: Here,
    request: Request,
    *,
    expires: Annotated[int, Query()] = 0,
    signature: Annotated[str, Query(max_length=64)] = "",
) -> None:
    secret = here.settings.blobs.secret
    what = f"{request.method} {request.url.path}"
    if secret is None or not valid(
        secret.get_secret_value(), what, expires=expires, signature=signature, now=time.time()
    ):
        raise Forbidden(
            "this takes a signed link that is still good; MURMUR_BLOBS__SECRET must be the same here and there"
        )


router = APIRouter(prefix="/internal/blobs", include_in_schema=False, dependencies=[Depends(_signed)])


@router.get("/{sha256}")
async def fetch(here: Here, sha256: str) -> FileResponse:
    """The audio of a SHA-256."""
    try:
        path = await run_in_threadpool(here.desk.blobs.fetch, sha256)
    except BlobMissing as error:
        raise JobNotFound(error.message) from error
    return FileResponse(path, media_type="application/octet-stream")


@router.get("")
async def old(here: Here) -> list[str]:
    """Audio that has been here for so long that some job should need it; unfinished uploads of that age are deleted."""
    return await run_in_threadpool(here.desk.blobs.old, older_than_s=here.settings.retention.orphan_s)


@router.delete("/{sha256}", status_code=204)
async def discard(here: Here, sha256: str) -> None:
    """Delete the audio, unless it has come in again lately."""
    await run_in_threadpool(here.desk.blobs.discard, sha256, older_than_s=here.settings.retention.orphan_s)
