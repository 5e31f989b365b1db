"""Two nginx behind a balancer: another image of nginx fails no request, and what holds for one address still holds."""

import json
import ssl
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from tests.compose.scenarios import Scenario, killed, with_another_image_of_nginx
from tests.compose.stack import Stack
from tests.compose.test_operations import RUNS, assert_served, results, whole
from tests.edge import certificate
from tests.free_port import free_port
from tests.platform import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]
__all__ = ["results"]

FILES = "docker-compose.yml:docker-compose.edges.yml"
TLS_FILES = "docker-compose.yml:docker-compose.tls.yml:docker-compose.edges.yml:docker-compose.edges-tls.yml"


@pytest.fixture(scope="module")
def edges(stack: Stack) -> Iterator[Stack]:
    """The stack with two nginx."""
    image = json.loads(_told(stack, "config", "--format", "json"))["services"]["nginx"]["image"]
    if not _can_balance(image):
        pytest.skip(f"the image {image} isn't here, or has no stream module")
    stack.compose("stop", "nginx")
    stack.compose("rm", "-f", "nginx")
    with stack.told(COMPOSE_FILE=FILES):
        stack.compose("build", "balancer")
        whole(stack, 2, 1)
        yield stack
        stack.compose("rm", "-sf", "balancer", "nginx")
    whole(stack, 2, 1)


def _told(stack: Stack, *words: str) -> str:
    with stack.told(COMPOSE_FILE=FILES):
        return stack.compose(*words)


def _can_balance(image: str) -> bool:
    look = "nginx -V 2>&1 | grep -q -- '--with-stream ' || ls /usr/lib/nginx/modules/ngx_stream_module.so"
    run = ["docker", "run", "--rm", "--pull", "never", "--entrypoint", "sh", image, "-c", look]
    return subprocess.run(run, check=False, capture_output=True).returncode == 0


def another_image_of_nginx(stack: Stack, after: ExitStack) -> None:
    """As it comes with a `docker compose pull`."""
    with_another_image_of_nginx(after)
    before = set(stack.containers("nginx"))
    stack.script("deploy/upgrade.sh", "--no-build", timeout_s=420)
    assert len(found := set(stack.containers("nginx"))) == 2
    assert not found & before


SCENARIOS = [
    Scenario("two nginx: another image of nginx", another_image_of_nginx, requests=2000),
    # What it had in hand: at most one request of each of the eight clients.
    Scenario("two nginx: kill of one", killed("nginx"), may_fail=8),
    Scenario("two nginx: kill of the balancer", killed("balancer"), may_fail=None),
]


@pytest.mark.parametrize("run", range(RUNS))
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_clients_get_their_answers_while_an_nginx_goes(
    edges: Stack, scenario: Scenario, run: int, results: Path
) -> None:
    assert_served(edges, scenario, run, results)


def logged(stack: Stack, request_id: str) -> list[dict[str, str]]:
    """What nginx and the API have logged of a request, when both have."""
    written = stack.compose("logs", "--no-log-prefix", "nginx", "api").splitlines()
    found = [json.loads(line[line.index("{") :]) for line in written if request_id in line]
    return found if {one["service"] for one in found} == {"nginx", "api"} else []


def test_the_client_s_address_is_the_one_that_connects_and_none_that_it_claims(edges: Stack) -> None:
    request_id = f"whose-{uuid.uuid4().hex}"
    claims = {"X-Request-ID": request_id, "X-Forwarded-For": "8.8.8.8", "Forwarded": "for=8.8.8.8"}
    assert httpx.get(f"{edges.url}/v1/models", headers=claims, timeout=10).is_success
    told = eventually(lambda: logged(edges, request_id), within_s=20, every_s=1)
    # Docker hands on what comes from this machine as from the network's gateway.
    assert {one["client_ip"] for one in told} == {edges.host()}


def test_one_address_has_one_limit_however_many_nginx_there_are(edges: Stack) -> None:
    def asked() -> int:
        # A connection for each, so that the balancer has a choice.
        return httpx.get(f"{edges.url}/v1/models", timeout=10).status_code

    with edges.told(MURMUR_EDGE_REQUESTS_PER_S="1", MURMUR_EDGE_BURST="20"):
        edges.compose("up", "-d", "--no-build", "edge-settings")
        eventually(lambda: asked() == 429, within_s=60)
        # The other nginx looks at the settings every two seconds as well.
        began = time.monotonic()
        eventually(lambda: time.monotonic() - began > 5, within_s=10)
        answers = Counter(asked() for _ in range(60))
        took_s = time.monotonic() - began
    edges.compose("up", "-d", "--no-build", "edge-settings")
    eventually(lambda: {asked() for _ in range(20)} == {200}, within_s=30, every_s=1)
    assert set(answers) == {200, 429}
    assert answers[200] <= 21 + took_s


@pytest.fixture
def https(edges: Stack, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of the same by HTTPS, which knows the certificate."""
    trusted, port = certificate(tmp_path / "tls"), free_port()
    (tmp_path / "tls" / "tls.key").chmod(0o644)
    with edges.told(COMPOSE_FILE=TLS_FILES, MURMUR_TLS_DIR=str(trusted.parent), MURMUR_HTTPS_PORT=str(port)):
        edges.compose("up", "-d", "--no-build", timeout_s=300)
        context = ssl.create_default_context(cafile=str(trusted))
        with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=context, timeout=10) as http:
            eventually(lambda: answers(http), within_s=90, every_s=0.5)
            yield http
    edges.compose("up", "-d", "--no-build", timeout_s=300)
    eventually(edges.settled, within_s=120, every_s=0.5)


def answers(http: httpx.Client) -> bool:
    with suppress(httpx.TransportError):
        return http.get("/health/ready").is_success
    return False


def test_https_ends_in_nginx_which_knows_who_the_client_is_and_the_balancer_has_no_key(
    edges: Stack, https: httpx.Client
) -> None:
    request_id = f"whose-{uuid.uuid4().hex}"
    claims = {"X-Request-ID": request_id, "X-Forwarded-For": "8.8.8.8", "Forwarded": "for=8.8.8.8"}
    assert https.get("/v1/models", headers=claims).is_success
    told = eventually(lambda: logged(edges, request_id), within_s=20, every_s=1)
    assert {one["client_ip"] for one in told} == {edges.host()}
    assert https.get("/metrics").status_code == 404
    plain = httpx.get(f"{edges.url}/v1/models", timeout=10)
    assert (plain.status_code, plain.headers["location"]) == (308, str(https.base_url.join("/v1/models")))
    edges.refused("exec", "-T", "balancer", "test", "-e", "/etc/nginx/tls/tls.key")


def test_nobody_but_the_balancer_is_published(edges: Stack) -> None:
    published = {
        name for name, container in edges.inspect().items() if any(container["NetworkSettings"]["Ports"].values())
    }
    assert published == {"balancer-1"}
