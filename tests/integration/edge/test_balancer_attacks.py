"""Through a balancer nginx refuses what it refuses without one: too long, too slow, malformed, not for everybody."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from itertools import count

import pytest

from tests.edge import Names, Replica
from tests.edge_answers import problem
from tests.edge_balancer import HEADER_S, Pair, needs_balancer, pair
from tests.integration.edge.test_malformed_requests import MALFORMED, hiding
from tests.platform import eventually

pytestmark = needs_balancer

MEGABYTE = b"x" * (1 << 20)
IDLE = 200


@pytest.fixture(scope="module")
def two_nginx(tmp_path_factory: pytest.TempPathFactory, names: Names, port: int, two: list[Replica]) -> Iterator[Pair]:
    told = {
        "MURMUR_LIMITS__MAX_UPLOAD_BYTES": str(8 << 20),
        "MURMUR_OPERATOR_PASSWORD": "open sesame",
        "EDGE_FLOWER": f"127.0.0.1:{port}",
    }
    with pair(tmp_path_factory.mktemp("pair"), names=names, port=port, **told) as running:
        with running.client("127.0.1.1") as http:
            eventually(lambda: http.get("/echo").is_success)
        yield running


def from_everywhere(pair: Pair, requests: list[bytes]) -> list[bytes]:
    """What is said to each request, which comes from an address of its own: so both nginx get some."""
    numbers = count(1)
    with ThreadPoolExecutor(24) as threads:
        asks = [threads.submit(pair.answer, request, f"127.1.1.{next(numbers) % 250 + 1}") for request in requests]
        return [one.result() for one in asks]


def test_a_body_over_the_limit_is_refused_before_it_is_sent(two_nginx: Pair, two: list[Replica]) -> None:
    before = [replica.state()["posts"] for replica in two]
    for last in range(1, 6):
        with two_nginx.client(f"127.1.2.{last}") as http:
            assert problem(http.post("/v1/jobs", content=MEGABYTE * 12))["code"] == "too_large"
    assert [replica.state()["posts"] for replica in two] == before


def test_a_body_of_unknown_length_is_refused_where_the_limit_is(two_nginx: Pair) -> None:
    for last in range(1, 6):
        with two_nginx.client(f"127.1.3.{last}") as http:
            assert problem(http.post("/v1/jobs", content=(MEGABYTE for _ in range(12))))["code"] == "too_large"


def test_a_refusal_of_the_api_reaches_a_client_that_is_still_sending(two_nginx: Pair) -> None:
    for last in range(1, 6):
        with two_nginx.client(f"127.1.4.{last}") as http:
            answer = http.post("/refuse", content=MEGABYTE * 8)
            assert (answer.status_code, answer.json()["detail"]) == (413, "said by the replica")


@pytest.mark.parametrize(
    "path", ["/metrics", "/metrics/ledger", "/admin", "/admin/dead", "/v1/admin/dead", "/v1/admin", "/-/status"]
)
def test_figures_and_administration_are_closed(two_nginx: Pair, path: str) -> None:
    with two_nginx.client("127.1.5.1") as http:
        answer = http.get(path, headers={"X-Forwarded-For": "127.0.0.1"})
    if path == "/-/status":  # nginx' own figures are on another port: here it is a path like any other
        assert answer.json()["headers"]["x-forwarded-for"] == "127.1.5.1"
    else:
        assert (answer.status_code, problem(answer)["code"]) == (404, "route_not_found")


def test_flower_asks_for_the_operators_password(two_nginx: Pair) -> None:
    with two_nginx.client("127.1.6.1") as http:
        asked = [http.get("/flower/", auth=("operator", word)).status_code for word in ("wrong", "open sesame")]
        assert [http.get("/flower/").status_code, *asked] == [401, 401, 200]


def test_no_malformed_request_is_answered_by_a_page_of_nginx(two_nginx: Pair) -> None:
    answers = from_everywhere(two_nginx, MALFORMED)
    assert sum(bool(said) for said in answers) > len(MALFORMED) * 3 / 4
    for request, said in zip(MALFORMED, answers, strict=True):
        head, _, body = said.partition(b"\r\n\r\n")
        status = int(head.split()[1]) if head.startswith(b"HTTP/") else 0
        assert not said or status not in {0, 500}, (request[:60], said[:200])
        assert b"<html" not in said, (request[:60], said[:300])
        if b"problem+json" in head:
            assert json.loads(body)["status"] == status, request[:60]


def test_no_request_that_is_hidden_in_another_s_body_reaches_a_replica_unseen(
    two_nginx: Pair, two: list[Replica]
) -> None:
    hidden = b"POST /v1/jobs?hidden HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"

    def logged() -> int:
        return sum("/v1/jobs" in line for line in two_nginx.lines)

    before, logged_before = sum(replica.state()["hidden"] for replica in two), logged()
    assert any(from_everywhere(two_nginx, list(hiding(hidden))))
    reached = sum(replica.state()["hidden"] for replica in two) - before
    # nginx writes a request's line when its answer has gone out.
    eventually(lambda: logged() - logged_before >= reached)


def test_heads_that_come_slowly_or_never_hold_nobody_up_and_are_given_up(two_nginx: Pair) -> None:
    with ExitStack() as open_ones:
        slow = [open_ones.enter_context(two_nginx.connect("127.1.7.1")) for _ in range(IDLE)]
        for number, connection in enumerate(slow):
            connection.settimeout(0.01)
            connection.sendall([b"", b"GET", b"GET /echo HTTP/1.1\r\nHost: here\r\nX: "][number % 3])
        began = time.monotonic()
        for address in ("127.1.7.1", "127.1.7.2", "127.1.7.3"):
            with two_nginx.client(address) as http:
                assert http.get("/echo").is_success
        waiting = dict(enumerate(slow))

        def given_up() -> bool:
            for number, connection in list(waiting.items()):
                with suppress(TimeoutError, BlockingIOError):
                    try:
                        # A head that has begun to come may get a word of farewell.
                        connection.sendall(b"x" if number % 3 == 2 else b"")
                        if connection.recv(65_536) == b"":
                            del waiting[number]
                    except (ConnectionResetError, BrokenPipeError):
                        del waiting[number]
            return not waiting

        eventually(given_up, within_s=HEADER_S * 6)
        assert time.monotonic() - began >= HEADER_S / 2
