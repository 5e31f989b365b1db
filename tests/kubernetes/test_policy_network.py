"""What the chart promises: who reaches whom."""

from ipaddress import ip_address, ip_network

import pytest

from tests.kubernetes.charts import Document, answers, documents, profiles
from tests.kubernetes.rendered import LABELS, labels, named, of, settings_of
from transcription.network.addresses import is_public


def space(name: str) -> Document:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def some(*components: str) -> Document:
    return {
        "matchLabels": LABELS,
        "matchExpressions": [
            {"key": "app.kubernetes.io/component", "operator": "In", "values": list(components)}
        ],
    }  # fmt: skip


def policies(profile: str) -> dict[str, Document]:
    found = profiles()[profile]
    return {
        name.removeprefix("murmuration-"): document["spec"]
        for (kind, name), document in found.items()
        if kind == "NetworkPolicy"
    }


LEDGER = {"to": [{"podSelector": {"matchLabels": labels("redis")}}], "ports": [{"port": 6379}]}
CACHE = {"to": [{"podSelector": {"matchLabels": labels("redis-cache")}}], "ports": [{"port": 6379}]}
INSIDE = ["10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"]
INTERNET = [{"ipBlock": {"cidr": "0.0.0.0/0", "except": INSIDE}}, {"ipBlock": {"cidr": "2000::/3"}}]
NAMES = {
    "to": [
        {**space("kube-system"), "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}},
        {"ipBlock": {"cidr": "169.254.20.10/32"}},
    ],
    "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],
}


def test_nobody_reaches_anything_but_by_the_ways_that_are_named() -> None:
    both = ["Ingress", "Egress"]
    assert policies("base") == {
        "closed": {"podSelector": {"matchLabels": LABELS}, "policyTypes": both},
        "names": {
            "podSelector": some("api", "worker", "models", "backup"), "policyTypes": ["Egress"], "egress": [NAMES],
        },
        "api": {
            "podSelector": {"matchLabels": labels("api")},
            "policyTypes": both,
            "ingress": [{"from": [space("ingress-nginx"), space("monitoring")], "ports": [{"port": 8000}]}],
            "egress": [LEDGER, CACHE, {"to": INTERNET}],
        },
        "worker": {
            "podSelector": {"matchLabels": labels("worker")},
            "policyTypes": both,
            "ingress": [{"from": [space("monitoring")], "ports": [{"port": 9464}]}],
            # Not the internet: who breaks the decoder reaches nobody to tell.
            "egress": [LEDGER],
        },
        "models": {
            "podSelector": {"matchLabels": labels("models")},
            "policyTypes": ["Egress"],
            "egress": [{"to": INTERNET, "ports": [{"port": 443}]}],
        },
        "redis": {
            "podSelector": {"matchLabels": labels("redis")},
            "policyTypes": both,
            "ingress": [{"from": [{"podSelector": some("api", "worker", "backup")}], "ports": [{"port": 6379}]}],
            "egress": [],
        },
        "redis-cache": {
            "podSelector": {"matchLabels": labels("redis-cache")},
            "policyTypes": both,
            "ingress": [{"from": [{"podSelector": {"matchLabels": labels("api")}}], "ports": [{"port": 6379}]}],
            "egress": [],
        },
    }  # fmt: skip


def test_where_redis_and_the_bucket_are_elsewhere_they_are_all_that_is_reached_there() -> None:
    told = policies("elsewhere")
    ledger = {"to": [{"ipBlock": {"cidr": "10.9.8.7/32"}}], "ports": [{"port": 6380}]}
    bucket = {"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}], "ports": [{"port": 9000}]}
    hub = {"to": INTERNET, "ports": [{"port": 443}]}
    assert told["worker"]["egress"] == [ledger, bucket, hub]
    assert told["api"]["egress"] == [ledger, CACHE, {"to": INTERNET}, bucket]
    assert told["backup"]["egress"] == [ledger, hub]
    assert "redis" not in told
    assert "models" not in told


@pytest.mark.parametrize("profile", sorted(profiles()))
def test_every_pod_is_closed_by_the_policy_for_all(profile: str) -> None:
    selector = policies(profile)["closed"]["podSelector"]["matchLabels"]
    templates = [
        document["spec"].get("jobTemplate", {}).get("spec", document["spec"])["template"]["metadata"]["labels"]
        for (kind, _), document in profiles()[profile].items()
        if kind in {"Deployment", "StatefulSet", "Job", "CronJob"}
    ]
    assert len(templates) >= 3
    assert all(selector.items() <= told.items() for told in templates)


def test_nothing_that_is_public_to_a_policy_is_inside_to_the_platform() -> None:
    inside = [ip_network(network) for network in INSIDE]
    for address in ("10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.31.0.1", "192.168.1.1"):
        assert not is_public(address)
        assert any(ip_address(address) in network for network in inside)
    assert not any(ip_address("8.8.8.8") in network for network in inside)


@pytest.mark.parametrize("address", ["10.244.3.7", "100.64.7.9", "172.20.1.1", "192.168.99.4", "fd00::7"])
def test_a_pod_of_any_private_network_says_who_the_client_is_and_reads_the_figures(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clusters have their pods in 10/8, in 100.64/10, in 172.16/12 or in 192.168/16."""
    security = settings_of("base", "api", monkeypatch).security
    for told in (security.trusted_proxies, security.metrics):
        assert any(ip_address(address) in ip_network(one) for one in told.split(","))
        assert not any(ip_address("8.8.8.8") in ip_network(one) for one in told.split(","))


@pytest.mark.parametrize(("name", "port"), [("api", 80), ("redis", 6379), ("redis-cache", 6379)])
def test_a_service_leads_to_the_port_where_its_pods_listen(name: str, port: int) -> None:
    spec = named("Service", name)["spec"]
    assert spec["selector"] == labels(name)
    (way,) = spec["ports"]
    assert way["port"] == port
    (listening,) = of(name)["ports"]
    assert way.get("targetPort", listening["name"]) == listening["name"]
    assert "type" not in spec  # within the cluster alone


@pytest.mark.parametrize("part", ["api", "worker", "models", "backup"])
def test_a_proxy_inside_can_be_reached_by_whom_it_is_for(part: str) -> None:
    rule = {"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}], "ports": [{"port": 3128}]}
    (answer,) = answers({"values": {"network": {"extraEgress": {part: [rule]}}, "backup": {"enabled": True}}})
    policies = {name: found["spec"] for (kind, name), found in documents(answer).items() if kind == "NetworkPolicy"}
    assert [name for name, spec in policies.items() if rule in spec.get("egress", ())] == [f"murmuration-{part}"]
