"""Replicas behind the edge that come, go and die."""

import json
import select
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx

from tests.edge import Names, Replica, edge, needs_nginx, replicas
from tests.edge_answers import answering, problem, reaches
from tests.free_port import free_port
from tests.platform import eventually

pytestmark = needs_nginx

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


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
    asked = Counter[bytes]()

    def serve() -> None:
        """Hang up on the first request of each method, and answer later ones."""
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    method = connection.recv(65536).partition(b" ")[0]
                    asked[method] += 1
                    if asked[method] > 1:
                        connection.sendall(OK)

    with socket.create_server(("127.0.0.1", 0)) as listener, Names() as names:
        threading.Thread(target=serve, daemon=True).start()
        names.addresses = ["127.0.0.1"]
        with edge(tmp_path, names=names, port=listener.getsockname()[1]) as nginx, nginx.client() as http:
            assert [http.get("/v1/jobs/a").text, http.delete("/v1/jobs/a").text] == ["ok", "ok"]
            assert http.post("/v1/jobs", content=b"audio").status_code == 502
        assert asked == {b"GET": 2, b"DELETE": 2, b"POST": 1}


def test_get_is_tried_once_more_when_nobody_took_its_connection_in_time(tmp_path: Path) -> None:
    """As where a replica's host has just gone: nothing refuses the connection."""
    waiting_for: list[socket.socket] = []
    over = threading.Event()

    def serve() -> None:
        over.wait(0.5)  # the first try lasts a second
        listener.listen(16)
        while not over.is_set():
            readable, _, _ = select.select([listener, *waiting_for], [], [], 0.05)
            for one in readable:
                if one is listener:
                    waiting_for.append(listener.accept()[0])
                    continue
                waiting_for.remove(one)
                with one, suppress(OSError):
                    if one.recv(65536):
                        one.sendall(OK)

    with socket.socket() as listener, Names() as names, ExitStack() as queue:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        names.addresses = ["127.0.0.1"]
        with edge(tmp_path, names=names, port=listener.getsockname()[1]) as nginx, nginx.client() as http:
            for _ in range(2):  # all that may wait: whoever comes now isn't heard
                one = queue.enter_context(socket.socket())
                one.setblocking(False)
                one.connect_ex(listener.getsockname())
            server = threading.Thread(target=serve)
            server.start()
            try:
                assert http.get("/echo").text == "ok"
            finally:
                over.set()
                server.join()
                for one in waiting_for:
                    one.close()


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
