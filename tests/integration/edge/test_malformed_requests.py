"""Requests that are no HTTP, or two in one: nothing of them reaches a replica, or is answered by a page of nginx."""

import json
import socket
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest

from tests.edge import Edge, Replica, needs_nginx
from tests.edge_answers import reaches
from tests.platform import eventually

pytestmark = needs_nginx


MALFORMED = [
    b"GET\r\n\r\n",
    b"GET \r\n\r\n",
    b" / HTTP/1.1\r\n\r\n",
    b"GET  HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/3.0\r\nHost: a\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /../../etc HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: \r\n\r\n",
    b"GE\x00T / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / FTP/1.1\r\nHost: a\r\n\r\n",
    b"\x16\x03\x01\x00\xa5\x01\x00\r\n\r\n",
    b"GET http:// HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"* * *\r\n\r\n",
    b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 40_000 + b"\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a\n\n",
    b"GET ?x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET #x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET //evil/.. HTTP/1.1\r\nHost: a\r\n\r\n",
]


OURS_NOT = ("client sent invalid chunked body", "in DNS response for")
"""Errors that nginx may tell of: what the client sent, and a name server's answer that came when it had asked again."""


def errors(edge: Edge, since: int) -> list[str]:
    """The lines of nginx's log from the character *since* on that an operator would look into."""
    log = (edge.run / "error.log").read_text()[since:]
    bad = [line for line in log.splitlines() if "[error]" in line or "[crit]" in line or "[alert]" in line]
    return [line for line in bad if not any(fine in line for fine in OURS_NOT)]


def raw_answer(port: int, request: bytes) -> bytes:
    """All that nginx says to *request* until it closes, or is silent for a second."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as raw:
        raw.sendall(request)
        raw.shutdown(socket.SHUT_WR)
        said = b""
        with suppress(OSError):
            while more := raw.recv(65_536):
                said += more
    return said


def test_no_malformed_request_is_answered_by_a_page_of_nginx_or_a_line_in_its_error_log(
    shared: Edge,
) -> None:
    before = len((shared.run / "error.log").read_text())
    for request in MALFORMED:
        said = raw_answer(shared.port, request)
        if not said:
            continue  # it hung up without a word, which is an answer too
        head, _, body = said.partition(b"\r\n\r\n")
        status = int(head.split()[1]) if head.startswith(b"HTTP/") else 0
        assert status not in {0, 500}, (request[:60], said[:200])
        assert b"<html" not in said, (request[:60], said[:300])
        if b"problem+json" in head and request[:4] != b"HEAD":
            assert json.loads(body)["status"] == status, request[:60]
    assert not errors(shared, before)


def generated() -> Iterator[bytes]:
    """Requests whose line, headers or body are each wrong in one way, or odd."""
    host = b"Host: a\r\n"
    lines = [b"GET / HTTP/1.1", b"POST /v1/jobs HTTP/1.1", b"DELETE /v1/jobs/x HTTP/1.1"]
    targets = [b"/", b"*", b"//", b"/%", b"/%0", b"/%0d%0a", b"/%2e%2e/", b"/..", b"/\xff", b"/\x01", b"/a b",
               b"/?\x00", b"http://a/", b"https://a/", b"a:80", b"//a@b/",
               b"/" + b"%41" * 3000, b"", b"/\t", b"\\"]  # fmt: skip
    methods = [b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"BREW", b"G\xffT", b"", b"GET" * 100]
    versions = [
        b"HTTP/1.1",
        b"HTTP/1.0",
        b"HTTP/0.9",
        b"HTTP/2.0",
        b"HTTP/1.10",
        b"HTTP/",
        b"http/1.1",
        b"HTTP/1.1 x",
        b"",
    ]
    headers = [
        b"Content-Length: 0", b"Content-Length: +1", b"Content-Length: 1 1", b"Content-Length: 99999999999999999999",
        b"Content-Length: 0x1", b"Content-Length:", b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked, gzip",
        b"Transfer-Encoding: Chunked", b"Transfer-Encoding : chunked", b"Expect: 100-continue", b"Expect: x",
        b"Connection: close, x", b"Upgrade: h2c", b"Range: bytes=0-", b"X: \x00", b"X: \x7f", b"\x00: x", b": x", b"X",
        b"Host: b", b"Host: a:99999", b"Host: a\\b", b"Cookie: " + b"x" * 9000, b"X-Forwarded-For: \xff",
        b"Authorization: Bearer \xff", b"Content-Type: \xff", b"Accept-Encoding: " + b"gzip," * 900, b" folded: x",
    ]  # fmt: skip
    bodies = [
        b"",
        b"x",
        b"0\r\n\r\n",
        b"ffffffffffffffff\r\n",
        b"-1\r\n",
        b"5\r\nab",
        b"1;x=y\r\na\r\n0\r\nT: t\r\n\r\n",
    ]
    yield from (b"%b %b HTTP/1.1\r\n%b\r\n" % (method, target, host) for method in methods for target in targets)
    yield from (b"GET / %b\r\n%b\r\n" % (version, host) for version in versions)
    yield from (b"%b\r\n%b%b\r\n\r\n" % (line, host, header) for line in lines for header in headers)
    chunked = b"POST /v1/jobs HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\n" % host
    yield from (chunked + body for body in bodies)


@pytest.mark.timeout(240)  # each of hundreds waits for nginx to close
def test_no_generated_request_is_answered_by_a_page_of_nginx_or_an_error_of_ours(
    shared: Edge, two: list[Replica], http: httpx.Client
) -> None:
    eventually(lambda: reaches(http, two), 30)  # also after a test that has killed or added some
    before, asked = len((shared.run / "error.log").read_text()), 0
    for request in generated():  # fine: counted below
        said = raw_answer(shared.port, request)
        asked += 1
        if not said:
            continue  # it hung up without a word, which is an answer too
        assert b"<html" not in said.lower(), (request[:80], said[:300])
        head = said.partition(b"\r\n\r\n")[0]
        if b"HTTP/" not in request.partition(b"\r\n")[0].upper():
            continue  # in the HTTP of 1991, which names no version, an answer is a body alone
        status = int(head.split()[1]) if head.startswith(b"HTTP/") else 0
        assert 0 < status < 500 or status in {501, 505}, (request[:80], said[:200])
    assert asked > 300
    assert not errors(shared, before)


def hiding(hidden: bytes) -> Iterator[bytes]:
    """Requests in which a proxy that reads their length otherwise than we do would take *hidden* for another one."""
    lengths = [
        b"Content-Length: %d\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: chunked\r\nContent-Length: %d",
        b"Content-Length: %d\r\nTransfer-Encoding: xchunked", b"Content-Length: %d\r\nTransfer-Encoding : chunked",
        b"Content-Length: %d\r\nTransfer-Encoding:\tchunked", b"Content-Length: %d\r\n Transfer-Encoding: chunked",
        b"Content-Length: %d\r\nX: x\nTransfer-Encoding: chunked",
        b"Content-Length: %d\r\nTransfer-Encoding: chunked, x",
        b"Content-Length: %d\r\nTransfer-Encoding: x\r\nTransfer-Encoding: chunked",
        b"Content-Length: %d\r\nTransfer-Encoding:\x0bchunked", b"Content-Length: %d\r\nTransfer_Encoding: chunked",
        b"Content-Length: 0\r\nContent-Length: %d", b"Content-Length: %d\r\nContent-Length: 0",
        b"Content-Length: %d, 0", b"Content-Length: +%d", b"Content-Length: 0%d", b"Content-Length : %d",
        b"Content-Length:\x0b%d", b"Content_Length: %d", b"X: x\rContent-Length: %d",
    ]  # fmt: skip
    for method in (b"GET", b"POST"):
        for length in lengths:
            for body in (b"0\r\n\r\n" + hidden, b"1\r\na\r\n0\r\nX: x\r\n\r\n" + hidden, hidden):
                head = length % len(body) if b"%d" in length else length
                yield b"%b /echo HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n%b" % (method, head, body)


def test_no_request_that_is_hidden_in_another_s_body_reaches_a_replica_unseen(shared: Edge, two: list[Replica]) -> None:
    hidden = b"POST /v1/jobs?hidden HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
    before, logged = sum(replica.state()["hidden"] for replica in two), len(shared.lines)
    for request in hiding(hidden):
        raw_answer(shared.port, request)
    # Where nginx itself finds two requests there, it logs and limits both; a replica may find no more than it did.
    seen = [line for line in shared.lines[logged:] if "/v1/jobs" in str(line)]
    assert sum(replica.state()["hidden"] for replica in two) - before <= len(seen)
