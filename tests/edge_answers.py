"""Who and what answers at the edge: replicas, and nginx itself with its problems."""

from collections import Counter
from collections.abc import Callable, Sequence

import httpx

from tests.edge import Replica

PROBLEM = "application/problem+json"


def problem(response: httpx.Response) -> dict[str, object]:
    """The problem that *response* brings."""
    assert response.headers["content-type"] == PROBLEM
    body: dict[str, object] = response.json()
    assert body["status"] == response.status_code
    assert body["type"] == f"urn:murmur:error:{body['code']}"
    assert body["request_id"] == response.headers["x-request-id"]
    return body


def until_refused(ask: Callable[[], httpx.Response]) -> tuple[int, httpx.Response]:
    """
    How many requests are answered before the first 429, and that.

    An address may ask once more with each second, so the number is exact only where asking takes no time.
    """
    for answered in range(1000):
        answer = ask()
        if answer.status_code == 429:
            return answered, answer
        assert answer.status_code == 200
    raise AssertionError("nothing was refused")


def answering(http: httpx.Client, requests: int = 20) -> Counter[str]:
    """Who answers how many of so many requests; none may fail."""
    return Counter(http.get("/echo").raise_for_status().json()["replica"] for _ in range(requests))


def reaches(http: httpx.Client, found: Sequence[Replica]) -> bool:
    """Whether exactly these replicas answer by now, and nothing fails any more."""
    answers = [http.get("/echo") for _ in range(20)]
    return all(answer.is_success for answer in answers) and {answer.json()["replica"] for answer in answers} == {
        replica.address for replica in found
    }
