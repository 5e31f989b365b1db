"""A server that speaks S3, in this process."""

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import httpx


@contextmanager
def bucket_server(address: str = "127.0.0.1") -> Iterator[str]:
    """Yield the URL of a server that listens on *address*."""
    from moto.server import ThreadedMotoServer  # a second, and most of the tests' processes need none

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address=address, port=0, verbose=False)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()


def new_bucket(endpoint: str) -> str:
    """Make a bucket; its URL with a folder, as MURMUR_BLOBS__URL takes it."""
    name = uuid.uuid4().hex
    httpx.put(f"{endpoint}/{name}").raise_for_status()
    return f"s3://{name}/uploads"


def credentials() -> dict[str, str]:
    """The environment variables that open any bucket."""
    return {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }
