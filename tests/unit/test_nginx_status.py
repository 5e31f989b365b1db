"""Whether nginx is up: what its own status says, and what leads to it."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from murmur.edge.metrics import EdgeMetrics, registry
from tests.free_port import free_port

STATUS = "Active connections: 3 \nserver accepts handled requests\n 7 7 40 \nReading: 0 Writing: 1 Waiting: 2 \n"
ANSWERS = {"/-/status": (200, STATUS), "/-/edge": (200, "ok\n"), "/-/gone": (502, "")}


class Nginx(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, text = ANSWERS[self.path]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Nginx) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("through", "up"),
    [("", 1), ("{address}/-/edge", 1), ("{address}/-/gone", 0), ("http://127.0.0.1:{closed}/-/edge", 0)],
)
def test_nginx_is_up_where_clients_reach_it_and_tells_of_its_connections_all_the_same(
    address: str, through: str, up: int
) -> None:
    url = through.format(address=address, closed=free_port())
    found = registry(EdgeMetrics(), status_url=f"{address}/-/status", through_url=url, wanted={})
    assert found.get_sample_value("nginx_up") == up
    assert found.get_sample_value("nginx_http_requests_total") == 40


def test_a_balancer_that_answers_is_not_nginx(address: str) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}/-/status"
    found = registry(EdgeMetrics(), status_url=nowhere, through_url=f"{address}/-/edge", wanted={})
    assert found.get_sample_value("nginx_up") == 0
