"""Clients of a balancer before two nginx: who they are, what limits them, and who they can't pretend to be."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import httpx
import pytest

from tests.edge import Names, Replica
from tests.edge_answers import problem, until_refused
from tests.edge_balancer import Pair, balancer, needs_balancer, pair
from tests.edge_reader import edge_reader
from tests.free_port import free_port
from tests.platform import eventually

pytestmark = needs_balancer

LIMITS = {"MURMUR_EDGE_REQUESTS_PER_S": "1", "MURMUR_EDGE_BURST": "30", "MURMUR_EDGE_CONNECTIONS": "2"}
CLAIMS = {"X-Forwarded-For": "8.8.8.8", "X-Real-IP": "8.8.8.8", "Forwarded": "for=8.8.8.8", "Via": "8.8.8.8"}
VERSION_2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes((8, 8, 8, 8, 127, 0, 0, 1)) + b"\x9c\x40\x1f\x90"
FORGED = [
    b"PROXY TCP4 8.8.8.8 127.0.0.1 40000 8080\r\n",
    b"PROXY TCP6 2001:db8::8 ::1 40000 8080\r\n",
    b"PROXY UNKNOWN\r\n",
    b"PROXY TCP4 8.8.8.8 127.0.0.1 40000 8080\r\n" * 2,
    b"\r\nPROXY TCP4 8.8.8.8 127.0.0.1 40000 8080\r\n",
    VERSION_2,
]
ECHO = b"GET /echo HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def two_nginx(tmp_path_factory: pytest.TempPathFactory, names: Names, port: int, two: list[Replica]) -> Iterator[Pair]:
    with pair(tmp_path_factory.mktemp("pair"), names=names, port=port, **LIMITS) as running:
        with running.client("127.0.1.1") as http:
            eventually(lambda: http.get("/echo").is_success)
        yield running


def told(pair: Pair, request_id: str) -> list[str]:
    """Which addresses nginx has logged for a request."""
    return eventually(lambda: [json.loads(line)["client_ip"] for line in pair.lines if f'"{request_id}"' in line])


def test_the_api_and_the_log_know_who_has_connected_whatever_else_is_claimed(two_nginx: Pair) -> None:
    for address in ("127.0.2.1", "127.0.2.2"):
        with two_nginx.client(address) as http:
            answer = http.get("/echo", headers=CLAIMS | {"X-Request-ID": f"from-{address}"})
        assert answer.json()["headers"]["x-forwarded-for"] == address
        assert "8.8.8.8" not in answer.json()["headers"]["x-forwarded-for"]
        assert told(two_nginx, f"from-{address}") == [address]


@pytest.mark.parametrize("forged", FORGED, ids=range(len(FORGED)))
def test_a_client_that_says_by_the_balancer_s_protocol_who_it_is_is_not_believed(
    two_nginx: Pair, two: list[Replica], forged: bytes
) -> None:
    address = f"127.0.3.{1 + FORGED.index(forged)}"
    said = two_nginx.answer(forged + ECHO, address)
    assert said.startswith(b"HTTP/1.1 400 ") or said == b"", said[:200]
    assert b'"replica"' not in said
    assert not any("8.8.8.8" in line for line in two_nginx.lines)
    # Nor is the line kept for the next one on another connection.
    assert f'"x-forwarded-for":"{address}"'.encode() in two_nginx.answer(ECHO, address)


def test_who_reaches_nginx_past_the_balancer_has_the_address_that_it_connects_from(two_nginx: Pair) -> None:
    said = two_nginx.answer(FORGED[0] + ECHO, "127.0.4.1", two_nginx.direct[0])
    assert b'"x-forwarded-for":"127.0.4.1"' in said
    assert b"8.8.8.8" not in said


def test_an_address_is_always_led_to_the_same_nginx_and_both_have_some(two_nginx: Pair) -> None:
    for last in range(1, 21):
        for _ in range(2):
            assert b" 200 OK" in two_nginx.answer(ECHO, f"127.0.5.{last}")
    found = [
        {json.loads(line)["client_ip"] for line in nginx.lines if '"127.0.5.' in line} for nginx in two_nginx.edges
    ]
    assert found[0] & found[1] == set()
    assert len(found[0] | found[1]) == 20
    assert min(map(len, found)) > 0


def test_one_address_has_one_limit_of_requests_whatever_it_claims_and_no_other_address_has_less(
    two_nginx: Pair,
) -> None:
    numbers = count(1)

    def asked(address: str) -> httpx.Response:
        # A connection for each, so that the balancer has a choice.
        with two_nginx.client(address) as http:
            return http.get("/echo", headers={"X-Forwarded-For": f"9.9.9.{next(numbers)}"})

    answered, refused = until_refused(lambda: asked("127.0.6.1"))
    assert answered >= 31
    assert problem(refused)["code"] == "too_many_requests"
    assert asked("127.0.6.2").status_code == 200


def test_one_address_has_one_limit_of_requests_at_a_time(two_nginx: Pair, two: list[Replica]) -> None:
    def wait() -> None:
        with two_nginx.client("127.0.7.1") as http:
            http.get("/wait?s=2")

    threads = [threading.Thread(target=wait) for _ in range(2)]
    for thread in threads:
        thread.start()
    eventually(lambda: sum(replica.state()["waiting"] for replica in two) == 2)
    with two_nginx.client("127.0.7.1") as same, two_nginx.client("127.0.7.2") as other:
        assert (same.get("/echo").status_code, other.get("/echo").status_code) == (429, 200)
    for thread in threads:
        thread.join(20)


def test_what_the_balancer_cannot_read_it_hands_on_as_it_came_behind_who_sends_it(tmp_path: Path) -> None:
    """It ends no TLS, and has no key with which it could."""
    ports = free_port(), free_port()
    hello = b"\x16\x03\x01 a client's hello, or what else comes"
    with socket.create_server(("127.0.0.1", 0)) as behind:
        here = f"127.0.0.1:{behind.getsockname()[1]}"
        with balancer(tmp_path, [here], [here], ports=ports):
            for port in ports:  # fine: two of them
                with socket.create_connection(("127.0.0.1", port), timeout=10, source_address=("127.0.8.1", 0)) as raw:
                    raw.sendall(hello)
                    said = f"PROXY TCP4 127.0.8.1 127.0.0.1 {raw.getsockname()[1]} {port}\r\n".encode() + hello
                    assert received(behind, len(said)) == said


def test_nginx_counts_as_away_while_its_balancer_is(two_nginx: Pair, tmp_path: Path) -> None:
    ports, behind = (free_port(), free_port()), [f"127.0.0.1:{port}" for port in two_nginx.direct]
    page = f"http://127.0.0.1:{ports[0]}/-/edge"
    with ExitStack() as front:
        front.enter_context(balancer(tmp_path, behind[:1], behind[1:], ports=ports))
        with edge_reader(two_nginx.edges[0], through=page) as shown:
            assert shown.samples("nginx_up") == {(): 1}
            front.close()
            assert "nginx_up 0.0" in httpx.get(shown.url).text
            assert shown.samples("nginx_connections_active")


def received(listener: socket.socket, length: int) -> bytes:
    """What the next connection brings that brings anything: a look whether anybody listens brings an address alone."""
    listener.settimeout(10)
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(10)
            found = b""
            while len(found) < length and (more := connection.recv(length - len(found))):
                found += more
        if len(found) == length:
            return found
