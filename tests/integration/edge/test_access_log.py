"""What nginx writes a line about."""

import json
from pathlib import Path

from tests.edge import Names, edge, needs_nginx, replicas
from tests.free_port import free_port
from tests.platform import eventually

pytestmark = needs_nginx
ASKED = 300


def test_of_looks_that_clients_repeat_few_get_a_line_and_all_are_counted(tmp_path: Path) -> None:
    with Names() as names:
        port = free_port()
        with replicas(1, port) as running:
            names.addresses = [replica.address for replica in running]
            settings = {"MURMUR_EDGE_REQUESTS_PER_S": "10000"}
            with edge(tmp_path, names=names, port=port, **settings) as here, here.client() as http:
                for path in ("/v1/jobs/j1", "/status/j1", "/health"):
                    assert {http.get(path).status_code for _ in range(ASKED // 3)} == {200}
                assert {http.head("/v1/jobs/j1").status_code for _ in range(ASKED // 3)} == {200}
                assert {http.get(f"/v1/jobs/{status}").status_code for status in (304, 404)} == {304, 404}
                for path in ("/v1/jobs/j1/result", "/v1/jobs?limit=1", "/v1/jobs/../../metrics", "/healthy"):
                    http.get(path)
                http.post("/v1/jobs", content=b"x")
                http.post("/v1/jobs/j1")
                eventually(lambda: any('"POST","path":"/v1/jobs/j1"' in line for line in here.lines))
                eventually(lambda: len(here.counted.read_text().splitlines()) >= ASKED + ASKED // 3 + 8)
                lines = [json.loads(line) for line in here.lines]
    told = [(line["method"], line["path"]) for line in lines]
    polls = [one for one in told if one in {("GET", "/v1/jobs/j1"), ("GET", "/status/j1"), ("GET", "/health")}]
    polls += [one for one in told if one in {("HEAD", "/v1/jobs/j1"), ("GET", "/v1/jobs/304")}]
    assert len(polls) < ASKED / 6
    rest = [one for one in told if one not in polls]
    assert sorted(rest) == sorted(
        [
            ("GET", "/v1/jobs/j1/result"), ("GET", "/v1/jobs"), ("GET", "/metrics"), ("GET", "/healthy"),
            ("GET", "/v1/jobs/404"),
            ("POST", "/v1/jobs"), ("POST", "/v1/jobs/j1"),
        ]
    )  # fmt: skip
