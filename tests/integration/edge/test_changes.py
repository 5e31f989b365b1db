"""nginx gets other settings, another template, and is told to stop, while clients are in the middle of something."""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.edge import ROOT, START, Edge, Names, Replica, edge, environment, needs_nginx, replicas
from tests.free_port import free_port
from tests.platform import eventually

pytestmark = needs_nginx

SETTINGS = ROOT / "nginx" / "settings.sh"
Told = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def tell(tmp_path: Path) -> Told:
    """Write nginx's settings as the service `edge-settings` does."""

    def write(**settings: str) -> "subprocess.CompletedProcess[str]":
        told = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "MURMUR_EDGE_BURST": "1000", **settings}
        return subprocess.run(
            ["/bin/sh", str(SETTINGS), str(tmp_path / "settings")],
            env=told, capture_output=True, text=True, check=False, timeout=20,
        )  # fmt: skip

    return write


@pytest.fixture
def replica() -> Iterator[Replica]:
    with replicas(1, free_port()) as (one,):
        yield one


@pytest.fixture
def running(tmp_path: Path, tell: Told, replica: Replica) -> Iterator[Edge]:
    assert tell().returncode == 0
    port = int(replica.url.rsplit(":", 1)[1])
    with Names() as names:
        names.addresses = [replica.address]
        with edge(tmp_path, names=names, port=port, EDGE_SETTINGS=str(tmp_path / "settings")) as nginx:
            with nginx.client() as http:
                eventually(lambda: http.get("/echo").is_success)
            yield nginx


def body_limit(nginx: Edge) -> str:
    return (nginx.run / "nginx.conf").read_text().partition("client_max_body_size ")[2].partition(";")[0]


def refuses(nginx: Edge) -> bool:
    """Whether a new connection gets the limit for short bodies."""
    with suppress(httpx.TransportError), nginx.client() as http:
        return http.post("/echo", content=b"x" * 300_000).status_code == 413
    return False


def ask(running: Edge, what: str) -> "subprocess.CompletedProcess[str]":
    """Run `start.sh` beside nginx, which it tells of no replica."""
    with Names() as nobody:
        told = environment(
            running.run, listen=running.port, names=nobody, port=1,
            settings={"EDGE_SETTINGS": str(running.run / "settings")},
        )  # fmt: skip
        command = ["/bin/sh", str(START), what]
        return subprocess.run(command, env=told, capture_output=True, text=True, check=False, timeout=20)


def test_other_settings_are_applied_without_a_failed_request_and_a_slow_answer_still_comes(
    running: Edge, tell: Told
) -> None:
    slow: list[httpx.Response] = []
    with running.client() as http:
        waits = threading.Thread(target=lambda: slow.append(http.get("/wait?s=4")))
        waits.start()
        assert tell(MURMUR_LIMITS__MAX_UPLOAD_BYTES="20000").returncode == 0
        asked: list[int] = []

        def applied() -> bool:
            with running.client() as fresh:
                asked.append(fresh.get("/echo").status_code)
            return refuses(running)

        eventually(applied, within_s=20)
        waits.join(20)
    assert set(asked) == {200}
    assert [answer.status_code for answer in slow] == [200]


def test_settings_that_can_not_be_are_refused_and_those_before_stay(running: Edge, tell: Told) -> None:
    before = (running.run / "settings").read_text()
    refused = tell(MURMUR_EDGE_REQUESTS_PER_S="many")
    assert refused.returncode == 2
    assert "MURMUR_EDGE_REQUESTS_PER_S must be a number" in refused.stderr
    assert (running.run / "settings").read_text() == before


def test_a_password_with_quotes_is_the_same_in_the_settings(running: Edge, tell: Told) -> None:
    secret = """it's "$HOME" `id` \\ 'x'"""
    assert tell(MURMUR_OPERATOR_PASSWORD=secret).returncode == 0
    shown = ["/bin/sh", "-c", '. "$1"; printf %s "$MURMUR_OPERATOR_PASSWORD"', "sh", str(running.run / "settings")]
    assert subprocess.run(shown, capture_output=True, text=True, check=True).stdout == secret


def test_a_configuration_that_nginx_refuses_is_not_applied_and_says_why(running: Edge) -> None:
    before, read = body_limit(running), (running.run / "nginx.conf").resolve()
    (running.run / "settings").write_text("MURMUR_EDGE_PROXIES=1.2.3.4/99\n")
    ended = ask(running, "apply")
    assert ended.returncode != 0
    assert "1.2.3.4/99" in ended.stderr
    assert (running.run / "nginx.conf").resolve() == read
    assert body_limit(running) == before
    with running.client() as http:
        assert http.get("/echo").is_success


def test_looks_at_a_configuration_leave_the_one_in_use_where_it_is(running: Edge) -> None:
    read = (running.run / "nginx.conf").resolve()
    assert [ask(running, "-t").returncode for _ in range(5)] == [0] * 5
    assert read.exists()
    assert len(list(running.run.glob("conf.*"))) < 6


def test_those_that_are_named_are_asked_alone_until_the_next_change(
    running: Edge, replica: Replica, tmp_path: Path
) -> None:
    address = replica.url.removeprefix("http://")

    def apply(only: str) -> None:
        with Names() as nobody:
            told = environment(
                tmp_path, listen=running.port, names=nobody, port=1,
                settings={"EDGE_SETTINGS": str(tmp_path / "settings"), "EDGE_ONLY": only},
            )  # fmt: skip
            subprocess.run(["/bin/sh", str(START), "apply"], env=told, capture_output=True, check=True, timeout=20)

    def answers(status: int) -> bool:
        with suppress(httpx.TransportError), running.client() as http:
            return http.get("/echo").status_code == status
        return False

    apply("")
    eventually(lambda: answers(502), within_s=20)  # the name has no address
    apply(address)
    eventually(lambda: answers(200), within_s=20)
    apply("")
    eventually(lambda: answers(502), within_s=20)


def test_uploads_alone_go_to_those_that_are_named_for_them(tmp_path: Path) -> None:
    port = free_port()
    with Names() as names, replicas(2, port) as (old, new):
        names.addresses = [old.address]
        only = f"{new.address}:{port}"
        with edge(tmp_path, names=names, port=port, EDGE_ONLY_UPLOADS=only) as nginx, nginx.client() as http:
            looks = {http.get("/echo").json()["replica"] for _ in range(4)}
            sent = {http.post("/v1/jobs", content=b"audio").json()["replica"] for _ in range(4)}
    assert (looks, sent) == ({old.address}, {new.address})


def test_others_are_asked_where_those_that_are_named_can_not_be_reached(tmp_path: Path) -> None:
    port = free_port()
    with Names() as names, replicas(2, port) as (old, new):
        names.addresses = []
        told = {"EDGE_ONLY": f"{old.address}:{port}", "EDGE_ELSE": f"{new.address}:{port}"}
        with edge(tmp_path, names=names, port=port, **told) as nginx, nginx.client() as http:
            assert {http.get("/echo").json()["replica"] for _ in range(6)} == {old.address}
            old.kill()
            assert {http.get("/echo").json()["replica"] for _ in range(6)} == {new.address}
            assert http.post("/v1/jobs", content=b"audio").json()["replica"] == new.address


def test_a_stop_answers_what_is_under_way_and_waits_for_nothing_longer_than_it_may(
    tmp_path: Path, replica: Replica
) -> None:
    port, listen = int(replica.url.rsplit(":", 1)[1]), free_port()
    answers: dict[str, int] = {}

    def ask(seconds: str) -> None:
        with suppress(httpx.TransportError):
            answers[seconds] = httpx.get(f"http://127.0.0.1:{listen}/wait?s={seconds}", timeout=60).status_code

    with Names() as names:
        names.addresses = [replica.address]
        told = environment(tmp_path, listen=listen, names=names, port=port, settings={"EDGE_STOP_S": "2"})
        process = subprocess.Popen(["/bin/sh", str(START)], env=told, stderr=subprocess.DEVNULL)
        eventually(lambda: _up(listen), within_s=20)
        threads = [threading.Thread(target=ask, args=(seconds,)) for seconds in ("1", "50")]
        for thread in threads:
            thread.start()
        eventually(lambda: replica.state()["waiting"] == 2)
        began = time.monotonic()
        process.send_signal(signal.SIGQUIT)
        process.wait(30)
        took = time.monotonic() - began
        for thread in threads:
            thread.join(20)
    assert answers == {"1": 200}
    assert took < 20


def _up(port: int) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}/echo").is_success
    return False
