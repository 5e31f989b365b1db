"""The client library."""

from murmur.client.client import Client

__all__ = ["Client"]
