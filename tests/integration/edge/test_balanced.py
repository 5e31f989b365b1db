"""nginx behind a balancer of whole connections, which says by the PROXY protocol who the client is."""

import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.edge import RENDER, Edge, Names, edge, environment, needs_nginx, replicas
from tests.free_port import free_port
from tests.platform import eventually

pytestmark = needs_nginx

Ask = Callable[..., tuple[int, str]]
RATE = {"MURMUR_EDGE_REQUESTS_PER_S": "1", "MURMUR_EDGE_BURST": "5"}


@pytest.fixture(scope="module")
def balanced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Edge, int]]:
    """A running nginx, and the port for its balancer."""
    port, behind = free_port(), free_port()
    told = {"EDGE_BALANCED": "yes", "EDGE_BALANCED_LISTEN": f"127.0.0.1:{behind}", "EDGE_BALANCER": "127.0.0.0/8"}
    with Names() as names, replicas(1, port) as (replica,):
        names.addresses = [replica.address]
        with edge(tmp_path_factory.mktemp("edge"), names=names, port=port, **told, **RATE) as nginx:
            yield nginx, behind


@pytest.fixture
def ask(balanced: tuple[Edge, int]) -> Ask:
    """Ask on a new connection that came from *client*; the status, and what the API was told of where it came from."""

    def once(client: str, *headers: str, port: int = balanced[1]) -> tuple[int, str]:
        family = "TCP6" if ":" in client else "TCP4"
        proxy = f"PROXY {family} {client} {client} 40000 8080\r\n" if client else ""
        lines = "\r\n".join(("GET /echo HTTP/1.1", "Host: here", "Connection: close", *headers))
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(f"{proxy}{lines}\r\n\r\n".encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
        status = re.match(r"HTTP/1.1 (\d+)", answer)
        said = re.search(r'"x-forwarded-for":"([^"]*)"', answer)
        return int(status[1]) if status else 0, said[1] if said else ""

    eventually(lambda: once("203.0.113.1")[0] == 200)
    return once


def test_a_client_has_the_address_that_the_balancer_says_and_none_that_it_claims(ask: Ask) -> None:
    assert ask("203.0.113.7") == (200, "203.0.113.7")
    assert ask("2001:db8::7") == (200, "2001:db8::7")
    assert ask("203.0.113.7", "X-Forwarded-For: 8.8.8.8", "X-Real-IP: 8.8.8.8") == (200, "203.0.113.7")


def test_limits_are_those_of_the_address_that_the_balancer_says(ask: Ask) -> None:
    eventually(lambda: ask("203.0.113.20")[0] == 429)
    assert ask("203.0.113.21")[0] == 200
    # A household of IPv6 is one, as it is without a balancer.
    numbers = count(1)
    eventually(lambda: ask(f"2001:db8:1:2::{next(numbers):x}")[0] == 429)
    assert ask("2001:db8:1:3::1")[0] == 200


def test_an_address_is_taken_on_the_balancer_s_port_alone_and_there_it_must_be_said(
    ask: Ask, balanced: tuple[Edge, int]
) -> None:
    nginx, behind = balanced
    assert ask("203.0.113.7", port=nginx.port)[0] == 400
    assert ask("", port=behind)[0] == 0
    assert ask("", port=nginx.port) == (200, "127.0.0.1")


def test_two_who_say_where_a_client_comes_from_are_refused(tmp_path: Path) -> None:
    with Names() as names:
        settings = {"EDGE_BALANCED": "yes", "MURMUR_EDGE_PROXIES": "10.0.0.0/8"}
        told = environment(tmp_path, listen=1, names=names, port=1, settings=settings)
        ended = subprocess.run(
            ["/bin/sh", str(RENDER), str(tmp_path)], env=told, capture_output=True, text=True, check=False, timeout=20
        )
    assert ended.returncode == 2
    assert "MURMUR_EDGE_PROXIES: not with docker-compose.edges.yml" in ended.stderr
