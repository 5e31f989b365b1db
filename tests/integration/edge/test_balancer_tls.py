"""TLS through a balancer: it ends in nginx, which knows who has connected; nothing is told over plain HTTP."""

import json
import ssl
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest

from tests.edge import Names, Replica, negotiated
from tests.edge_answers import problem, until_refused
from tests.edge_balancer import HEADER_S, Pair, needs_balancer, pair
from tests.integration.edge.test_balancer import CLAIMS, ECHO, FORGED
from tests.platform import eventually

pytestmark = needs_balancer


@pytest.fixture(scope="module")
def two_nginx(tmp_path_factory: pytest.TempPathFactory, names: Names, port: int, two: list[Replica]) -> Iterator[Pair]:
    limits = {"MURMUR_EDGE_REQUESTS_PER_S": "1", "MURMUR_EDGE_BURST": "30"}
    with pair(tmp_path_factory.mktemp("pair"), names=names, port=port, secure=True, **limits) as running:
        with running.client("127.0.1.1") as http:
            eventually(lambda: http.get("/echo").is_success)
        yield running


def over_tls(pair: Pair, sent: bytes, address: str) -> bytes:
    """What is said to bytes that are sent inside a TLS connection of the client's own."""
    assert pair.tls
    said = b""
    with (
        pair.connect(address, pair.secure_port) as plain,
        pair.tls.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
        suppress(OSError),
    ):
        secure.sendall(sent)
        while more := secure.recv(65_536):
            said += more
    return said


def test_nginx_s_certificate_and_protocol_are_what_a_client_meets(two_nginx: Pair) -> None:
    assert two_nginx.tls
    context = ssl.create_default_context(cadata=ssl.DER_cert_to_PEM_cert(two_nginx.tls.get_ca_certs(True)[0]))
    context.set_alpn_protocols(["h2", "http/1.1"])
    assert negotiated(two_nginx.secure_port, context) == "h2"
    with pytest.raises(ssl.SSLCertVerificationError):
        negotiated(two_nginx.secure_port, ssl.create_default_context())


def test_the_api_and_the_log_know_who_has_connected_whatever_else_is_claimed(two_nginx: Pair) -> None:
    for address in ("127.0.2.1", "127.0.2.2"):
        with two_nginx.client(address) as http:
            answer = http.get("/echo", headers=CLAIMS | {"X-Request-ID": f"from-{address}", "X-Forwarded-Proto": "x"})
        seen = answer.json()["headers"]
        assert (seen["x-forwarded-for"], seen["x-forwarded-proto"]) == (address, "https")
        assert answer.headers["strict-transport-security"] == "max-age=31536000"
        logged = eventually(lambda: [json.loads(one) for one in two_nginx.lines if f'"from-{address}"' in one])  # noqa: B023
        assert [line["client_ip"] for line in logged] == [address]


def test_over_plain_http_clients_are_sent_to_https_before_anything_is_told(two_nginx: Pair, two: list[Replica]) -> None:
    before = [replica.state()["posts"] for replica in two]
    with httpx.Client(base_url=f"http://127.0.0.1:{two_nginx.port}") as plain:
        for path in ("/v1/jobs?a=b", "/metrics", "/admin", "/flower/"):
            answer = plain.post(path, headers={"Host": "stt.example"}, content=b"audio")
            assert answer.status_code == 308
            assert answer.headers["location"] == f"https://stt.example:{two_nginx.secure_port}{path}"
        assert plain.get("/-/edge").text == "ok\n"
    assert [replica.state()["posts"] for replica in two] == before


def test_figures_and_administration_are_closed(two_nginx: Pair) -> None:
    with two_nginx.client("127.0.3.1") as http:
        for path in ("/metrics", "/metrics/ledger", "/admin/dead", "/v1/admin", "/flower/"):
            assert problem(http.get(path))["code"] == "route_not_found"


def test_limits_are_those_of_the_address_that_has_connected(two_nginx: Pair) -> None:
    def asked(address: str) -> httpx.Response:
        with two_nginx.client(address) as http:
            return http.get("/echo", headers=CLAIMS)

    assert until_refused(lambda: asked("127.0.4.1"))[0] >= 31
    assert asked("127.0.4.2").status_code == 200


@pytest.mark.parametrize("forged", FORGED, ids=range(len(FORGED)))
def test_a_forged_line_is_refused_inside_tls_and_before_it(two_nginx: Pair, forged: bytes) -> None:
    address = f"127.0.5.{1 + FORGED.index(forged)}"
    inside = over_tls(two_nginx, forged + ECHO, address)
    assert inside.startswith(b"HTTP/1.1 400 ") or inside == b"", inside[:200]
    assert b'"replica"' not in inside
    before = two_nginx.answer(forged + ECHO, address, two_nginx.secure_port)
    assert b'"replica"' not in before
    assert b" 200 " not in before
    assert not any("8.8.8.8" in line for line in two_nginx.lines)
    assert f'"x-forwarded-for":"{address}"'.encode() in over_tls(two_nginx, ECHO, address)


def test_plain_requests_on_the_port_of_tls_are_sent_to_https(two_nginx: Pair) -> None:
    said = two_nginx.answer(ECHO, "127.0.6.1", two_nginx.secure_port)
    assert said.startswith(b"HTTP/1.1 308 "), said[:200]
    assert f"\r\nLocation: https://here:{two_nginx.secure_port}/echo\r\n".encode() in said


def test_who_reaches_nginx_past_the_balancer_has_the_address_that_it_connects_from(two_nginx: Pair) -> None:
    assert two_nginx.tls
    with two_nginx.connect("127.0.7.1", two_nginx.direct[1]) as plain:
        plain.sendall(FORGED[0])
        with two_nginx.tls.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
            secure.sendall(ECHO)
            said = b"".join(iter(lambda: secure.recv(65_536), b""))
    assert b'"x-forwarded-for":"127.0.7.1"' in said


def test_a_handshake_that_never_comes_is_given_up(two_nginx: Pair) -> None:
    with two_nginx.connect("127.0.8.1", two_nginx.secure_port) as silent:
        silent.settimeout(HEADER_S * 6)
        with suppress(ConnectionResetError):
            assert silent.recv(65_536) == b""
