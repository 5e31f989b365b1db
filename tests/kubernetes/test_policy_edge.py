"""What the chart promises at the edge: who is let in from outside."""

import pytest

from api.uploads.json_form import JsonForm
from tests.kubernetes.charts import pods, profiles
from tests.kubernetes.rendered import environment, named, settings_of


def test_what_is_published_requires_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for profile in ("defaults", "base", "operated"):
        assert (
            environment(profile, "api")["MURMUR_PROFILE"]
            == environment(profile, "worker")["MURMUR_PROFILE"]
            == "strict"
        )
    settings = settings_of("base", "api", monkeypatch)
    assert settings.security.require_keys
    assert settings.security.docs == "closed"


def test_figures_and_administration_are_closed_from_outside() -> None:
    (rule,) = named("Ingress", "api")["spec"]["rules"]
    ways = {path["path"]: (path["pathType"], path["backend"]["service"]["name"]) for path in rule["http"]["paths"]}
    closed = "murmuration-closed"
    assert ways == {"/": ("Prefix", "murmuration-api"), "/metrics": ("Prefix", closed), "/admin": ("Prefix", closed)}
    route = named("HTTPRoute", "api", "operated")["spec"]
    led = {rule["matches"][0]["path"]["value"]: rule["backendRefs"] for rule in route["rules"]}
    assert led == {
        "/metrics": [{"name": closed, "port": 80}],
        "/admin": [{"name": closed, "port": 80}],
        "/": [{"name": "murmuration-api", "port": 80}],
    }
    assert all(rule["matches"][0]["path"]["type"] == "PathPrefix" for rule in route["rules"])
    for profile in ("base", "operated"):
        selector = named("Service", "closed", profile)["spec"]["selector"]
        assert selector["app.kubernetes.io/component"] not in pods(profiles()[profile])
    (secured,) = named("Ingress", "api")["spec"]["tls"]
    assert rule["host"] in secured["hosts"]
    assert route["hostnames"] == secured["hosts"]


def test_the_ingress_keeps_what_the_edge_of_the_compose_stack_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of("base", "api", monkeypatch)
    annotations = named("Ingress", "api")["metadata"]["annotations"]
    told = {name.removeprefix("nginx.ingress.kubernetes.io/"): value for name, value in annotations.items()}
    assert told == {
        "proxy-request-buffering": "off",
        "proxy-buffering": "off",
        "proxy-body-size": str(JsonForm().body_limit(settings.limits.max_upload_bytes)),
        "proxy-read-timeout": f"{settings.api.max_sync_s:g}",
        "proxy-send-timeout": "300",
        "proxy-connect-timeout": "1",
        "proxy-next-upstream": "error timeout",
        "limit-rps": "100",
        "limit-connections": "200",
    }
    assert named("Ingress", "api")["spec"]["ingressClassName"] == "nginx"
    longest = named("HTTPRoute", "api", "operated")["spec"]["rules"][-1]["timeouts"]
    assert longest == {"request": f"{settings.api.max_sync_s:g}s", "backendRequest": f"{settings.api.max_sync_s:g}s"}
