"""A key that is good in some networks only, through the balancer: the API judges by who has connected to that."""

from pathlib import Path

import httpx

from tests.edge import Names
from tests.edge_balancer import needs_balancer, pair
from tests.live_api import live_api
from tests.platform import eventually
from tests.secured_api import key_store, settings_for
from transcription.access import Scope

pytestmark = needs_balancer


def test_a_key_is_taken_from_its_networks_only_whatever_a_client_claims(redis_url: str, tmp_path: Path) -> None:
    with key_store(redis_url) as keys:
        _, secret = keys.create(
            name="a", tenant="acme", scopes=frozenset({Scope.READ}), tier="", networks="127.2.1.0/24"
        )
    settings = settings_for(redis_url, tmp_path / "data", trusted_proxies="127.0.0.1/32")

    def asked(http: httpx.Client, claimed: str) -> tuple[int, str]:
        answer = http.get("/v1/jobs", headers={"X-API-Key": secret, "X-Forwarded-For": claimed})
        return answer.status_code, answer.json().get("code", "")

    with Names() as names, live_api(settings) as api:
        names.addresses = ["127.0.0.1"]
        with (
            pair(tmp_path, names=names, port=api.base_url.port or 80) as two_nginx,
            two_nginx.client("127.2.1.1") as inside,
            two_nginx.client("127.2.2.1") as outside,
        ):
            eventually(lambda: inside.get("/health/live").is_success)
            assert asked(inside, "127.2.2.1") == (200, "")
            assert asked(outside, "127.2.1.1") == (403, "forbidden")
