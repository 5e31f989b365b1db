"""
The bare baseline: the same server, Redis and disk, and no platform. Every figure is a share of it.

Run by uvicorn with the options of our own API; `BARE_REDIS` and `BARE_DISK` say where its Redis and its disk are.
"""

import asyncio
import hashlib
import os
import uuid
from pathlib import Path

from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bench.load.stack import BARE_KEY

_PIECE_BYTES = 1 << 20
_redis: Redis = Redis.from_url(os.environ["BARE_REDIS"], decode_responses=True)
_disk = Path(os.environ["BARE_DISK"])


async def plain(_: Request) -> Response:
    """Ask nobody."""
    return JSONResponse({"status": "alive"})


async def look_up(_: Request) -> Response:
    """One HGETALL of a job's size."""
    return JSONResponse(await _redis.hgetall(BARE_KEY))


async def upload(request: Request) -> Response:
    """Hash what comes and write it to the disk, off the loop, and answer when it is durable."""
    digest, piece = hashlib.sha256(), bytearray()
    path = _disk / uuid.uuid4().hex

    def keep(data: bytes, *, last: bool) -> None:
        digest.update(data)
        file.write(data)
        if last:
            file.flush()
            os.fsync(file.fileno())

    with await asyncio.to_thread(path.open, "wb") as file:
        async for chunk in request.stream():
            piece += chunk
            if len(piece) >= _PIECE_BYTES:
                full, piece = bytes(piece), bytearray()
                await asyncio.to_thread(keep, full, last=False)
        await asyncio.to_thread(keep, bytes(piece), last=True)
    return JSONResponse({"sha256": digest.hexdigest()})


app = Starlette(
    routes=[
        Route("/plain", plain),
        Route("/job", look_up),
        Route("/upload", upload, methods=["POST"]),
    ]
)
