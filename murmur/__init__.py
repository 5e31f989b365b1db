"""Murmuration from the outside: the client library, the command line, and the whole platform on one machine."""

from murmur.client.client import Client

__all__ = ["Client"]
