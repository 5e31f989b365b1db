"""What the edge refuses by itself: too long, too much, not for everybody."""

from itertools import count
from pathlib import Path

import httpx
import pytest

from api.uploads.json_form import JsonForm
from tests.edge import Names, Replica, edge, needs_nginx
from tests.edge_answers import problem, until_refused
from tests.platform import eventually

pytestmark = needs_nginx

MEGABYTE = b"x" * (1 << 20)


def test_body_over_the_limit_is_refused_before_it_is_sent(http: httpx.Client, two: list[Replica]) -> None:
    before = [replica.state()["posts"] for replica in two]
    answer = http.post("/v1/jobs", content=MEGABYTE * 12, headers={"X-Request-ID": "too-long"})
    assert answer.status_code == 413
    said = problem(answer)
    assert said["code"] == "too_large"
    assert said["request_id"] == "too-long"
    assert str(JsonForm().body_limit(8 << 20)) in str(said["detail"])
    assert [replica.state()["posts"] for replica in two] == before


def test_body_of_unknown_length_is_refused_where_the_limit_is(http: httpx.Client) -> None:
    answer = http.post("/v1/jobs", content=(MEGABYTE for _ in range(12)))
    assert answer.status_code == 413
    assert problem(answer)["code"] == "too_large"


def test_refusal_of_the_api_reaches_a_client_that_is_still_sending(http: httpx.Client) -> None:
    for _ in range(5):
        # By a connection of its own: one whose body it didn't read nginx may close after it has answered.
        answer = httpx.post(http.base_url.join("/refuse"), content=MEGABYTE * 8, timeout=http.timeout)
        assert answer.status_code == 413
        assert answer.json()["detail"] == "said by the replica"


@pytest.mark.parametrize(
    "path",
    ["/metrics", "/metrics/ledger", "/admin", "/admin/dead", "/v1/admin/dead", "/v1/admin", "/api/v1/admin/dead"],
)
def test_figures_and_administration_are_closed(http: httpx.Client, path: str) -> None:
    answer = http.get(path)
    assert answer.status_code == 404
    assert problem(answer)["code"] == "route_not_found"


def test_flower_and_grafana_ask_for_the_operators_password_and_keep_it(http: httpx.Client) -> None:
    for path, replica in (("/flower/tasks", "127.0.0.1"), ("/grafana/d/1", "127.0.0.2")):
        assert http.get(path).status_code == 401
        assert http.get(path, auth=("operator", "wrong")).status_code == 401
        answer = http.get(path, auth=("operator", "open sesame"))
        assert answer.json()["replica"] == replica
        assert "authorization" not in answer.json()["headers"]


def test_without_a_password_flower_and_grafana_are_not_there(
    tmp_path: Path, names: Names, port: int, two: list[Replica]
) -> None:
    with edge(tmp_path, names=names, port=port, EDGE_FLOWER=f"127.0.0.1:{port}") as closed, closed.client() as http:
        assert problem(http.get("/flower/"))["status"] == 404
        assert http.get("/grafana/", auth=("operator", "")).status_code == 404


def test_flood_from_one_address_is_answered_429(tmp_path: Path, names: Names, port: int, two: list[Replica]) -> None:
    limits = {"MURMUR_EDGE_REQUESTS_PER_S": "1", "MURMUR_EDGE_BURST": "5"}
    with edge(tmp_path, names=names, port=port, **limits) as narrow, narrow.client() as http:
        answered, refused = until_refused(lambda: http.get("/echo"))
        assert answered >= 6
        assert problem(refused)["code"] == "too_many_requests"
        assert refused.headers["retry-after"] == "1"


def test_addresses_of_one_ipv6_network_of_64_bits_are_limited_together(
    tmp_path: Path, names: Names, port: int, two: list[Replica]
) -> None:
    limits = {"MURMUR_EDGE_REQUESTS_PER_S": "1", "MURMUR_EDGE_BURST": "2", "MURMUR_EDGE_PROXIES": "127.0.0.0/8"}
    with edge(tmp_path, names=names, port=port, **limits) as narrow, narrow.client() as http:

        def asked(address: str) -> httpx.Response:
            return http.get("/echo", headers={"X-Forwarded-For": address})

        def statuses(*addresses: str) -> list[int]:
            return [asked(address).status_code for address in addresses]

        numbers = count(1)
        assert until_refused(lambda: asked(f"2001:db8:a:b:{next(numbers):x}::1"))[0] >= 3
        assert until_refused(lambda: asked(f"2001:db8::{next(numbers):x}"))[0] >= 3
        assert statuses(*(f"2001:db8:a:{n:x}::1" for n in range(1, 7))) == [200] * 6
        assert statuses(*(f"::ffff:10.0.0.{n}" for n in range(1, 7))) == [200] * 6
        assert statuses(*(f"10.0.0.{n}" for n in range(1, 7))) == [200] * 6


def test_too_many_requests_at_a_time_are_answered_429(
    tmp_path: Path, names: Names, port: int, two: list[Replica]
) -> None:
    with edge(tmp_path, names=names, port=port, MURMUR_EDGE_CONNECTIONS="1") as narrow, narrow.client() as http:
        with http.stream("GET", "/events") as first:
            assert first.status_code == 200
            refused = httpx.get(f"{narrow.url}/echo")
            assert refused.status_code == 429
            assert problem(refused)["code"] == "too_many_requests"
            assert len([line for line in first.iter_lines() if line]) == 3
        eventually(lambda: httpx.get(f"{narrow.url}/echo").status_code == 200)
