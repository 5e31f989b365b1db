"""Who and what answers at the edge: replicas, and nginx itself with its problems."""

from collections import Counter
from collections.abc import Sequence

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


def answering(http: httpx.Client, requests: int = 20) -> Counter[str]:
    """Who answers how many of so many requests; none may fail."""
    return Counter(http.get("/echo").raise_for_status().json()["replica"] for _ in range(requests))


def reaches(http: httpx.Client, found: Sequence[Replica]) -> bool:
    """Whether exactly these replicas answer by now, and nothing fails any more."""
    answers = [http.get("/echo") for _ in range(20)]
    return all(answer.is_success for answer in answers) and {answer.json()["replica"] for answer in answers} == {
        replica.address for replica in found
    }
