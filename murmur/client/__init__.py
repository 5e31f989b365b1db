"""The client library."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from murmur.client.client import Client

__all__ = ["Client"]


def __getattr__(name: str) -> Any:
    # Half of a command's start is the client's; most of the platform's commands need none.
    if name in __all__:
        return getattr(import_module("murmur.client.client"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
