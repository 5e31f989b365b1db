"""Where Prometheus finds a worker's metrics, for one that runs outside its containers or its cluster."""

import ipaddress
import socket
from urllib.parse import urlsplit

HOST_OF_DOCKER = "host.docker.internal"
"""What containers call the machine on which they run."""

PORTS = 16
"""How many ports, from the one that is set on, the workers of one machine may share out among themselves."""

_REDIS = 6379


def address(told: str, port: int, *, ledger_url: str) -> str:
    """
    Host and port for Prometheus, or nothing where it isn't to be told, or nobody answers on *port* (0).

    Args:
        told: A host; `auto`: this machine's address on its way to the ledger, or, where the ledger is published to this
            machine alone, the name by which the containers know it.
        port: Where this worker's metrics are.
        ledger_url: The ledger's.
    """
    if not told or not port:
        return ""
    host = _towards(ledger_url) if told == "auto" else told
    if host.count(":") > 1 and not host.startswith("["):
        host = f"[{host}]"
    return f"{host}:{port}" if host else ""


def _towards(url: str) -> str:
    """No packet is sent: connecting a UDP socket only chooses the way."""
    parts = urlsplit(url)
    if not parts.hostname:  # a socket file
        return HOST_OF_DOCKER
    try:
        family, _, _, _, ledger = socket.getaddrinfo(parts.hostname, parts.port or _REDIS, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(ledger)
            own = str(probe.getsockname()[0])
    except OSError:
        return ""
    return HOST_OF_DOCKER if ipaddress.ip_address(own).is_loopback else own
