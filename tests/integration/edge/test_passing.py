"""What passes through the edge: the real nginx with our configuration, in front of real replicas."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from tests.edge import Edge, Names, Replica, edge, needs_nginx
from tests.edge_answers import answering
from tests.platform import eventually

pytestmark = needs_nginx

MEGABYTE = b"x" * (1 << 20)


def test_requests_are_spread_over_the_replicas(http: httpx.Client) -> None:
    assert min(answering(http, 60)[address] for address in ("127.0.0.1", "127.0.0.2")) > 10


def test_upload_reaches_the_replica_while_it_is_still_being_sent(shared: Edge, two: list[Replica]) -> None:
    seen: list[int] = []

    def body() -> Iterator[bytes]:
        for _ in range(4):
            yield MEGABYTE
            eventually(lambda: max(replica.state()["bytes"] for replica in two) >= (len(seen) + 1) << 20)
            seen.append(len(seen) + 1)

    with shared.client() as client:
        answer = client.post("/v1/jobs", content=body())
    assert answer.json()["bytes"] == 4 << 20
    assert seen == [1, 2, 3, 4]
    assert not list((shared.run / "body").rglob("*.*"))


def test_events_arrive_when_they_are_sent(http: httpx.Client) -> None:
    with http.stream("GET", "/events", headers={"Accept-Encoding": "gzip"}) as response:
        assert "content-encoding" not in response.headers
        arrived = [time.monotonic() for line in response.iter_lines() if line.startswith("data: ")]
    assert len(arrived) == 3
    # Held back, they would come together.
    assert arrived[1] - arrived[0] > 0.1
    assert arrived[2] - arrived[1] > 0.1


def test_json_is_compressed_for_those_who_can(http: httpx.Client) -> None:
    small = http.get("/large", headers={"Accept-Encoding": "gzip"})
    assert small.headers["content-encoding"] == "gzip"
    assert small.num_bytes_downloaded < 2000
    assert "accept-encoding" in small.headers["vary"].lower()  # so that no cache gives it to those who can't
    assert "content-encoding" not in http.get("/large", headers={"Accept-Encoding": "identity"}).headers


def test_sane_request_id_is_passed_on_and_any_other_replaced(shared: Edge, http: httpx.Client) -> None:
    ids = {}
    for sent in ("mine:1.2_3-4", 'evil" id', "x" * 129):
        ids[sent] = http.get("/echo", headers={"X-Request-ID": sent}).json()["headers"]["x-request-id"]
    assert ids["mine:1.2_3-4"] == "mine:1.2_3-4"
    assert re.fullmatch(r"[0-9a-f]{32}", ids['evil" id'])
    assert re.fullmatch(r"[0-9a-f]{32}", ids["x" * 129])
    logged = [json.loads(line) for line in eventually(lambda: shared.lines)]
    assert any(line["request_id"] == "mine:1.2_3-4" and line["path"] == "/echo" for line in logged)


def test_replica_is_not_told_to_close_which_would_lose_its_answer_to_an_upload(http: httpx.Client) -> None:
    assert http.get("/echo").json()["headers"].get("connection", "") != "close"


def test_client_can_not_choose_the_address_that_the_api_sees(http: httpx.Client) -> None:
    headers = http.get("/echo", headers={"X-Forwarded-For": "8.8.8.8", "X-Forwarded-Proto": "https"}).json()["headers"]
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "http"
    assert headers["host"] == http.base_url.netloc.decode()  # links that the API gives lead back here


def test_a_load_balancer_in_front_may_name_the_client_and_nobody_else_may(
    tmp_path: Path, names: Names, port: int, two: list[Replica]
) -> None:
    claimed = {"X-Forwarded-For": "9.9.9.9, 8.8.8.8"}
    for trusted, seen in (("127.0.0.0/8,10.0.0.0/8", "8.8.8.8"), ("10.0.0.0/8", "127.0.0.1")):
        run = tmp_path / trusted[:2]
        run.mkdir()
        with edge(run, names=names, port=port, MURMUR_EDGE_PROXIES=trusted) as nginx, nginx.client() as http:
            assert http.get("/echo", headers=claimed).json()["headers"]["x-forwarded-for"] == seen


def test_query_is_not_logged(shared: Edge, http: httpx.Client) -> None:
    http.get("/echo?prompt=secret")
    eventually(lambda: any('"path":"/echo"' in line for line in shared.lines))
    assert not any("secret" in line for line in shared.lines)
