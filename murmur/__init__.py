"""
Murmuration from the outside: the client library, the command line, and the whole platform on one machine.

    from murmur import Client

    with Client() as client:
        print(client.transcribe("talk.mp3").text)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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
from murmur.version import __version__

if TYPE_CHECKING:
    from murmur.client.async_client import AsyncClient
    from murmur.client.client import Client
    from murmur.client.webhook import verify_webhook

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

_LARGE = {
    "AsyncClient": "murmur.client.async_client",
    "Client": "murmur.client.client",
    "verify_webhook": "murmur.client.webhook",
}
"""What is imported when it is first asked for: much of the platform needs nothing of a client but this package."""


def __getattr__(name: str) -> Any:
    if name in _LARGE:
        return getattr(import_module(_LARGE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
