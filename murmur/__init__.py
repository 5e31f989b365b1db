"""
Murmuration from the outside: the client library, the command line, and the whole platform on one machine.

    from murmur import Client

    with Client() as client:
        print(client.transcribe("talk.mp3").text)
"""

from murmur.client.async_client import AsyncClient
from murmur.client.client import Client
from murmur.client.errors import (
    ApiError,
    BadRequest,
    Conflict,
    Forbidden,
    JobCanceled,
    JobEnded,
    JobExpired,
    JobFailed,
    MurmurError,
    NotFound,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    Unreachable,
)
from murmur.client.webhook import verify_webhook
from murmur.version import __version__

__all__ = [
    "ApiError",
    "AsyncClient",
    "BadRequest",
    "Client",
    "Conflict",
    "Forbidden",
    "JobCanceled",
    "JobEnded",
    "JobExpired",
    "JobFailed",
    "MurmurError",
    "NotFound",
    "TooManyRequests",
    "Unauthorized",
    "Unavailable",
    "Unreachable",
    "__version__",
    "verify_webhook",
]
