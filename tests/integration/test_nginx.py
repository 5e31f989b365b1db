"""The edge: the real nginx with our configuration, in front of real replicas that come, go and die."""

import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from api.middleware.requests import _SANE_ID
from api.uploads.json_form import JsonForm
from murmur.platform.ledger_server import free_port
from tests.edge import RENDER, ROOT, START, Edge, Names, Replica, edge, environment, nginx_excused, replicas
from tests.platform import eventually
from transcription.errors import TooLarge
from transcription.settings import Limits

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="needs more than one loopback address"),
    pytest.mark.skipif(nginx_excused(), reason="no nginx here: apt install nginx-light"),
]

MEGABYTE = b"x" * (1 << 20)
PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def names() -> Iterator[Names]:
    with Names() as server:
        yield server


@pytest.fixture(scope="module")
def two(names: Names, port: int) -> Iterator[list[Replica]]:
    with replicas(2, port) as running:
        names.addresses = [replica.address for replica in running]
        yield running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, names: Names, port: int, two: list[Replica]) -> Iterator[Edge]:
    settings = {"MURMUR_LIMITS__MAX_UPLOAD_BYTES": str(8 << 20), "MURMUR_OPERATOR_PASSWORD": "open sesame"}
    told = {**settings, "EDGE_FLOWER": f"127.0.0.1:{port}", "EDGE_GRAFANA": f"127.0.0.2:{port}"}
    with edge(tmp_path_factory.mktemp("edge"), names=names, port=port, **told) as running:
        yield running


@pytest.fixture
def http(shared: Edge) -> Iterator[httpx.Client]:
    with shared.client() as client:
        yield client


def problem(response: httpx.Response) -> dict[str, object]:
    """The problem that *response* brings."""
    assert response.headers["content-type"] == PROBLEM
    body: dict[str, object] = response.json()
    assert body["status"] == response.status_code
    assert body["type"] == f"urn:murmur:error:{body['code']}"
    assert body["request_id"] == response.headers["x-request-id"]
    return body


def answering(http: httpx.Client, requests: int = 20) -> Counter[str]:
    """Who answers how many of so many requests; none may fail."""
    return Counter(http.get("/echo").raise_for_status().json()["replica"] for _ in range(requests))


def reaches(http: httpx.Client, found: Sequence[Replica]) -> bool:
    """Whether exactly these replicas answer by now, and nothing fails any more."""
    answers = [http.get("/echo") for _ in range(20)]
    return all(answer.is_success for answer in answers) and {answer.json()["replica"] for answer in answers} == {
        replica.address for replica in found
    }


@contextmanager
def front(run: Path, count: int, known: int | None = None) -> Iterator[tuple[httpx.Client, Names, list[Replica]]]:
    """
    An edge of one's own before replicas of one's own, of which it knows so many, all by default.

    Every process of nginx looks names up for itself: what is told later, one of them may not know yet.
    """
    port = free_port()
    with Names() as names, replicas(count, port) as running:
        names.addresses = [replica.address for replica in running[:known]]
        with edge(run, names=names, port=port) as nginx, nginx.client() as http:
            eventually(lambda: reaches(http, running[:known]))
            yield http, names, running


def waiting(
    http: httpx.Client, count: int, answers: list[httpx.Response], replicas: Sequence[Replica]
) -> list[threading.Thread]:
    """Start so many requests of three seconds, and return when these replicas have all of them."""
    threads = [threading.Thread(target=lambda: answers.append(http.get("/wait?s=3"))) for _ in range(count)]
    for thread in threads:
        thread.start()
    eventually(lambda: sum(replica.state()["waiting"] for replica in replicas) + len(answers) == count)
    return threads


# What it says of itself


def test_limits_and_rules_are_the_ones_of_the_api(shared: Edge) -> None:
    written = (shared.run / "nginx.conf").read_text()
    assert f"client_max_body_size {JsonForm().body_limit(8 << 20)};" in written
    assert f'"~^{_SANE_ID.pattern}$" $http_x_request_id;' in written
    assert f"413 {TooLarge.code};" in written
    default = Limits().max_upload_bytes
    assert f"MAX_UPLOAD_BYTES:-{default}" in RENDER.read_text()
    assert f"MAX_UPLOAD_BYTES:-{default}" in (ROOT / "docker-compose.yml").read_text()


@pytest.mark.parametrize("bad", [{"MURMUR_EDGE_BURST": "many"}, {"MURMUR_LIMITS__MAX_UPLOAD_BYTES": "1g; root /"}])
def test_setting_that_is_no_number_is_refused_by_its_name(
    bad: dict[str, str], tmp_path: Path, names: Names, port: int
) -> None:
    told = environment(tmp_path, listen=free_port(), names=names, port=port, settings=bad)
    ended = subprocess.run(
        ["/bin/sh", str(START), "-t"], env=told, capture_output=True, check=False, text=True, timeout=20
    )
    assert ended.returncode == 2
    assert f"{next(iter(bad))} must be a number" in ended.stderr


# What passes through


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


def test_client_can_not_choose_the_address_that_the_api_sees(http: httpx.Client) -> None:
    headers = http.get("/echo", headers={"X-Forwarded-For": "8.8.8.8", "X-Forwarded-Proto": "https"}).json()["headers"]
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "http"


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


# What is refused here


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
        answer = http.post("/refuse", content=MEGABYTE * 8)
        assert answer.status_code == 413
        assert answer.json()["detail"] == "said by the replica"


@pytest.mark.parametrize(
    "path", ["/metrics", "/metrics/ledger", "/admin", "/admin/dead", "/v1/admin/dead", "/v1/admin"]
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
        answers = [http.get("/echo") for _ in range(10)]
        assert [answer.status_code for answer in answers[:6]] == [200] * 6
        refused = answers[-1]
        assert refused.status_code == 429
        assert problem(refused)["code"] == "too_many_requests"
        assert refused.headers["retry-after"] == "1"


def test_addresses_of_one_ipv6_network_of_64_bits_are_limited_together(
    tmp_path: Path, names: Names, port: int, two: list[Replica]
) -> None:
    limits = {"MURMUR_EDGE_REQUESTS_PER_S": "1", "MURMUR_EDGE_BURST": "2", "MURMUR_EDGE_PROXIES": "127.0.0.0/8"}
    with edge(tmp_path, names=names, port=port, **limits) as narrow, narrow.client() as http:

        def statuses(*addresses: str) -> list[int]:
            return [http.get("/echo", headers={"X-Forwarded-For": address}).status_code for address in addresses]

        assert 429 in statuses(*(f"2001:db8:a:b:{n}::1" for n in range(1, 7)))
        assert 429 in statuses(*(f"2001:db8::{n:x}" for n in range(1, 7)))
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


# Replicas that come, go and die


def test_new_replica_is_found_and_a_dead_one_dropped_without_a_reload(tmp_path: Path) -> None:
    with front(tmp_path, 3, known=1) as (http, names, (first, second, third)):
        names.addresses = [replica.address for replica in (first, second, third)]
        eventually(lambda: reaches(http, (first, second, third)))
        second.kill()
        # It is still in the name server's answer: nobody may notice.
        assert set(answering(http, 40)) == {first.address, third.address}
        assert [http.post("/v1/jobs", content=b"audio").status_code for _ in range(20)] == [200] * 20
        names.addresses = [third.address]
        eventually(lambda: reaches(http, (third,)))


def test_one_replica_that_lives_among_many_that_have_stopped_gets_every_request(tmp_path: Path) -> None:
    """As while twice as many run for an upgrade, and the old ones refuse connections."""
    port = free_port()
    with Names() as names, replicas(1, port) as (living,):
        names.addresses = [*(f"127.0.0.{last}" for last in range(10, 17)), living.address]
        with edge(tmp_path, names=names, port=port) as nginx, nginx.client() as http:
            answers = [http.post("/v1/jobs", content=b"x").status_code for _ in range(60)]
            answers += [http.get("/echo").status_code for _ in range(60)]
        assert answers == [200] * 120
        asked = [json.loads(line)["upstream"].count(":") for line in nginx.lines if "upstream" in line]
        assert max(asked) > 4


def test_post_that_a_replica_died_with_is_never_sent_again(tmp_path: Path) -> None:
    with front(tmp_path, 2) as (http, _, both):
        answer = http.post("/die", content=b"audio")
        assert answer.status_code == 502
        assert problem(answer)["code"] == "no_api"
        assert "Idempotency-Key" in str(problem(answer)["detail"])
        assert http.get("/echo").status_code == 200
        # Its socket is closed a moment before its process is gone.
        eventually(lambda: sum(replica.process.poll() is not None for replica in both) == 1)


def test_get_that_a_replica_died_with_is_answered_by_another(tmp_path: Path) -> None:
    with front(tmp_path, 2) as (http, _, (first, second)):
        answers: list[httpx.Response] = []
        threads = waiting(http, 12, answers, (first, second))
        first.kill()
        for thread in threads:
            thread.join()
        assert [answer.status_code for answer in answers] == [200] * 12
        assert second.address in {answer.json()["replica"] for answer in answers}


def test_get_that_no_try_answered_is_tried_once_more_and_a_post_is_not(tmp_path: Path) -> None:
    said, asked = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", Counter[bytes]()

    def serve() -> None:
        """Hang up on the first request of each method, and answer later ones."""
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    method = connection.recv(65536).partition(b" ")[0]
                    asked[method] += 1
                    if asked[method] > 1:
                        connection.sendall(said)

    with socket.create_server(("127.0.0.1", 0)) as listener, Names() as names:
        threading.Thread(target=serve, daemon=True).start()
        names.addresses = ["127.0.0.1"]
        with edge(tmp_path, names=names, port=listener.getsockname()[1]) as nginx, nginx.client() as http:
            assert [http.get("/v1/jobs/a").text, http.delete("/v1/jobs/a").text] == ["ok", "ok"]
            assert http.post("/v1/jobs", content=b"audio").status_code == 502
        assert asked == {b"GET": 2, b"DELETE": 2, b"POST": 1}


def test_replica_that_is_told_to_stop_finishes_what_it_has_while_others_take_the_rest(tmp_path: Path) -> None:
    with front(tmp_path, 2) as (http, _, both):
        answers: list[httpx.Response] = []
        threads = waiting(http, 12, answers, both)
        both[0].process.terminate()
        posted = [http.post("/v1/jobs", content=b"audio").status_code for _ in range(200)]
        for thread in threads:
            thread.join()
        assert posted == [200] * 200
        assert [answer.status_code for answer in answers] == [200] * 12
        assert {answer.json()["replica"] for answer in answers} == {replica.address for replica in both}


def test_no_replica_at_all_is_a_problem_that_says_what_to_do(tmp_path: Path) -> None:
    with Names() as names, edge(tmp_path, names=names, port=free_port()) as front, front.client() as http:
        for addresses in ([], ["127.0.0.1"]):
            names.addresses = addresses
            answer = http.post("/v1/jobs", content=b"audio")
            assert answer.status_code in {502, 503}
            assert problem(answer)["code"] in {"no_api", "service_unavailable"}
            assert answer.headers["retry-after"] == "2"
            assert answer.headers["connection"] == "close"


def test_certificate_that_is_mounted_opens_https_with_http_2(
    tmp_path: Path, names: Names, port: int, two: list[Replica]
) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl here to make a certificate")
    (tmp_path / "tls").mkdir()
    files = ["-keyout", str(tmp_path / "tls/tls.key"), "-out", str(tmp_path / "tls/tls.crt")]
    make = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([*make, "-addext", "subjectAltName=IP:127.0.0.1", *files], check=True, capture_output=True)
    secure = free_port()
    settings = {"EDGE_HTTPS_LISTEN": f"127.0.0.1:{secure}", "MURMUR_HTTPS_PORT": str(secure)}
    with edge(tmp_path, names=names, port=port, **settings) as nginx:
        plain = httpx.post(f"{nginx.url}/v1/jobs?a=b", headers={"Host": "stt.example"})
        assert (plain.status_code, plain.headers["location"]) == (308, f"https://stt.example:{secure}/v1/jobs?a=b")
        context = ssl.create_default_context(cafile=str(tmp_path / "tls/tls.crt"))
        answer = httpx.get(f"https://127.0.0.1:{secure}/echo", verify=context)
        assert answer.json()["headers"]["x-forwarded-proto"] == "https"
        for path in ("/echo", "/metrics"):  # the API's answer, and nginx's own
            answer = httpx.get(f"https://127.0.0.1:{secure}{path}", verify=context)
            assert answer.headers["strict-transport-security"] == "max-age=31536000"
        context.set_alpn_protocols(["h2", "http/1.1"])
        protocol = eventually(lambda: _negotiated(secure, context))
        assert protocol == "h2"


def _negotiated(port: int, context: ssl.SSLContext) -> str | None:
    with (
        socket.create_connection(("127.0.0.1", port)) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        return secure.selected_alpn_protocol()


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
    log = (shared.run / "error.log").read_text()[before:]
    bad = [line for line in log.splitlines() if "[error]" in line or "[crit]" in line or "[alert]" in line]
    assert not [line for line in bad if "client sent invalid chunked body" not in line]


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
        head = said.partition(b"\r\n\r\n")[0]
        status = int(head.split()[1]) if head.startswith(b"HTTP/") else 0
        assert 0 < status < 500 or status in {501, 505}, (request[:80], said[:200])
        assert b"<html" not in said.lower(), (request[:80], said[:300])
    assert asked > 300
    log = (shared.run / "error.log").read_text()[before:]
    bad = [line for line in log.splitlines() if "[error]" in line or "[crit]" in line or "[alert]" in line]
    assert not [line for line in bad if "client sent invalid chunked body" not in line]


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
    hidden = b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
    before, logged = sum(replica.state()["posts"] for replica in two), len(shared.lines)
    for request in hiding(hidden):
        raw_answer(shared.port, request)
    # Where nginx itself finds two requests there, it logs and limits both; a replica may find no more than it did.
    seen = [line for line in shared.lines[logged:] if "/v1/jobs" in str(line)]
    assert sum(replica.state()["posts"] for replica in two) - before <= len(seen)
