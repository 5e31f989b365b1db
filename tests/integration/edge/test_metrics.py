"""What the edge sees is measured: a real nginx in front of replicas that die, and the process that reads its log."""

import subprocess
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.edge import Names, edge, needs_nginx, replicas
from tests.edge_reader import Reader, Samples, edge_reader
from tests.free_port import free_port
from tests.monitoring.server import needs
from tests.platform import eventually
from tests.unit.test_metrics_docs import documented

pytestmark = needs_nginx


def test_requests_that_fail_at_the_edge_are_counted_although_no_replica_lives_to_count_them(tmp_path: Path) -> None:
    port, met = free_port(), Counter[tuple[str, str]]()
    with Names() as names, replicas(2, port) as two, ExitStack() as stack:
        names.addresses = [replica.address for replica in two]
        at = stack.enter_context(edge(tmp_path, names=names, port=port))
        client, shown = stack.enter_context(at.client()), stack.enter_context(edge_reader(at, api=2))

        def ask(path: str, service: str, count: int) -> None:
            for _ in range(count):
                met[service, str(client.get(path).status_code)] += 1

        def found_replicas() -> bool:
            ask("/echo", "api", 1)
            return met["api", "200"] > 0

        eventually(found_replicas)
        early = met.total() - 1
        ask("/echo", "api", 10)
        ask("/metrics", "nginx", 2)
        two[0].kill()
        ask("/echo", "api", 20)
        assert met["api", "200"] >= 30  # nobody notices one that is away
        two[1].kill()
        ask("/echo", "api", 5)
        lost = met["api", "502"] + met["api", "503"] + met["api", "504"]
        assert lost == early + 5

        def counted() -> Counter[tuple[str, str]]:
            found = Counter[tuple[str, str]]()
            for (service, status), value in _summed(shown).items():
                found[service, status] += int(value)
            return found

        eventually(lambda: counted().total() == met.total())
        seen = counted()
        assert seen["api", "200"] == met["api", "200"]
        assert seen["nginx", "404"] == 2
        assert seen["api", "502"] + seen["api", "503"] + seen["api", "504"] + seen["nginx", "502"] == lost
        failures = shown.samples("murmur_edge_upstream_failures_total", "upstream")
        assert {f"{replica.address}:{port}" for replica in two} <= {upstream for (upstream,) in failures}
        durations = shown.samples("murmur_edge_upstream_duration_seconds_count", "upstream")
        assert sum(durations.values()) == seen["api", "200"]
        assert shown.samples("nginx_up") == {(): 1}
        assert shown.samples("nginx_http_requests_total")[()] >= met.total()
        assert shown.samples("murmur_wanted_replicas", "service") == {("api",): 2, ("worker",): 1}
        _says_what_the_docs_say(httpx.get(shown.url).text)
    with pytest.raises(httpx.TransportError):
        httpx.get(at.url)


def _summed(shown: Reader) -> Samples:
    found: Counter[tuple[str, ...]] = Counter()
    for (service, status, _), value in shown.samples(
        "murmur_edge_requests_total", "service", "status", "upstream"
    ).items():
        found[service, status] += value  # type: ignore[assignment]
    return dict(found)


def _says_what_the_docs_say(text: str) -> None:
    shown = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert shown == set(documented("The edge")) | set(documented("Every replica"))
    checked = subprocess.run(
        [needs("promtool"), "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_an_edge_whose_log_can_not_be_written_serves_all_the_same_and_one_that_is_away_is_seen(tmp_path: Path) -> None:
    port = free_port()
    with Names() as names, replicas(1, port) as one, ExitStack() as front:
        names.addresses = [one[0].address]
        nowhere = str(tmp_path / "nowhere" / "log")
        at = front.enter_context(edge(tmp_path, names=names, port=port, EDGE_COUNTED_LOG=nowhere))
        eventually(lambda: httpx.get(f"{at.url}/echo").is_success)
        with edge_reader(at) as shown:
            assert shown.samples("nginx_up") == {(): 1}
            front.close()
            assert "nginx_up 0.0" in httpx.get(shown.url).text
