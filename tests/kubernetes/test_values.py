"""Values of the chart: those that cannot be meant are refused, all others give documents that pass the schemas."""

import json
from typing import Any

import yaml

from tests.kubernetes.charts import CHART, Document, answers, documents, refused
from tests.kubernetes.schemas import faults


def test_every_value_is_in_the_schema_and_nothing_else_is_taken() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    seen = 0

    def walk(known: Document, value: Any) -> None:
        nonlocal seen
        seen += 1
        if known.get("additionalProperties") is False:
            other = {"global", "minAvailable"}  # of a budget there is one or the other
            assert set(value) - other == set(known["properties"]) - other
            for name, inner in value.items():
                walk(known["properties"][name], inner)

    walk(schema, values)
    assert seen > 100


def test_the_readme_explains_every_part_of_the_values() -> None:
    text = (CHART / "README.md").read_text("utf-8")
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    assert [name for name in values if f"`{name}" not in text] == []


PUBLISHED: Document = {"host": "speech.example.org", "ingress": {"enabled": True}}
ROUTED: Document = {"host": "speech.example.org", "gateway": {"enabled": True, "parentRefs": [{"name": "public"}]}}
REFUSED: list[tuple[Document, str]] = [
    ({"edge": PUBLISHED, "settings": {"MURMUR_PROFILE": "open"}}, "MURMUR_PROFILE can't be among the settings"),
    ({"edge": PUBLISHED, "api": {"settings": {"MURMUR_SECURITY__REQUIRE_KEYS": False}}}, "REQUIRE_KEYS is off"),
    ({"edge": {"ingress": {"enabled": True}}}, "needs edge.host"),
    ({"edge": PUBLISHED | {"tlsSecret": ""}}, "needs edge.tlsSecret"),
    ({"edge": PUBLISHED, "network": {"edgeNamespaces": []}}, "needs network.edgeNamespaces"),
    ({"edge": ROUTED}, "where the Gateway's pods run"),
    ({"edge": {"host": "https://a"}}, "host"),
    ({"edge": {"host": "*.example.org"}}, "host"),
    (
        {"edge": ROUTED | {"gateway": {"enabled": True, "parentRefs": [{}]}}, "network": {"edgeNamespaces": ["gw"]}},
        "name",
    ),
    ({"monitoring": {"edge": {"durations": "x"}}}, "not used without monitoring.edge.requests"),
    ({"api": {"resources": None}}, "resources"),
    ({"redis": {"storage": None}}, "storage"),
    (
        {"monitoring": {"podMonitors": {"enabled": True}}, "network": {"monitoringNamespaces": []}},
        "needs network.monitoringNamespaces",
    ),
    ({"externalRedis": {"existingSecret": "x"}}, "not used while redis.enabled"),
    ({"blobs": {"endpoint": "https://minio"}}, "blobs.endpoint is not used"),
    ({"blobs": {"existingSecret": "x"}}, "blobs.existingSecret is not used"),
    ({"blobs": {"url": "s3://b"}, "data": {"existingClaim": "x"}}, "set one of them"),
    ({"models": {"mode": "init", "existingClaim": "x"}}, "models.existingClaim is not used"),
    ({"backup": {"enabled": True, "existingSecret": "x"}}, "backup.existingSecret is not used"),
    ({"backup": {"url": "s3://b/c"}}, "no backup would be taken"),
    ({"backup": {"schedule": "every day at three oclock"}}, "schedule"),
    ({"backup": None}, "backup"),
    ({"api": {"autoscaling": {"minReplicas": 20}}}, "api.autoscaling.minReplicas is 20 and maxReplicas 10"),
    ({"worker": {"autoscaling": {"minReplicas": 60}}}, "worker.autoscaling.minReplicas is 60"),
    ({"worker": {"autoscaling": {"fallbackReplicas": 60}}}, "fallbackReplicas is 60"),
    ({"worker": {"autoscaling": {"mode": "keda", "prometheusAddress": "prometheus:9090"}}}, "prometheusAddress"),
    ({"api": {"resources": {"requests": {"cpu": None}}}}, "needs api.resources.requests.cpu"),
    ({"api": {"disruptionBudget": {"maxUnavailble": 1}}}, "maxUnavailble"),
    ({"redis": {"maxMemory": "4gb"}}, "redis.maxMemory is 4gb and redis.resources.limits.memory 3Gi"),
    ({"cache": {"maxMemory": "512mb"}}, "cache.maxMemory is 512mb"),
    ({"redis": {"image": {"tag": "8 alpine"}}}, "tag"),
    ({"priorityClasses": {"create": True, "serving": 10}}, "priorityClasses.serving must be above"),
    ({"network": {"private": ["fd00::/8"]}}, "private"),
    ({"network": {"pods": ["10.0.0.0/40"]}}, "pods"),
    ({"worker": {"settings": {"MURMUR_WORKER__DRAIN_S": 900}}}, "set worker.drainSeconds"),
    ({"worker": {"settings": {"HF_TOKEN": "hf_x"}}}, "HF_TOKEN is a secret"),
    ({"settings": {"MURMUR_BLOBS__URL": "s3://b"}}, "set blobs.url"),
    ({"wroker": {}}, "wroker"),
    ({"worker": {"drainSeconds": "long"}}, "drainSeconds"),
    ({"worker": {"autoscaling": {"mode": "always"}}}, "mode"),
    ({"api": {"image": {"digest": "latest"}}}, "digest"),
    ({"blobs": {"url": "/data"}}, "url"),
    ({"network": {"pods": ["everything"]}}, "pods"),
    ({"profile": "open", "edge": {"ingress": {"enabled": True}}}, "profile is not strict"),
    ({"edge": {"gateway": {"enabled": True}}}, "parentRefs"),
    ({"redis": {"enabled": False}}, "externalRedis.existingSecret"),
    ({"redis": {"enabled": False}, "externalRedis": {"existingSecret": "x"}}, "externalRedis.cidrs"),
    ({"settings": {"MURMUR_WEBHOOK__SECRETS": "whsec_x"}}, "is a secret"),
    ({"worker": {"settings": {"MURMUR_LEDGER__URL": "redis://:x@y"}}}, "is a secret"),
]


def test_values_that_cannot_be_meant_are_refused_with_a_sentence() -> None:
    told = answers(*({"values": values} for values, _ in REFUSED))
    assert len(told) == len(REFUSED)
    for one, (values, word) in zip(told, REFUSED, strict=True):
        assert word in one.get("error", ""), values
    assert "helm" not in refused({"profile": "loose"}).lower()


def test_all_that_is_wrong_is_said_at_once() -> None:
    told = refused({"edge": {"ingress": {"enabled": True}}, "redis": {"maxMemory": "4gb"}, "backup": {"url": "s3://b"}})
    assert [word in told for word in ("edge.host", "redis.maxMemory", "no backup would be taken")] == [True] * 3


TAKEN: list[Document] = [
    {"edge": PUBLISHED},
    {"edge": ROUTED, "network": {"edgeNamespaces": ["envoy-gateway-system"]}},
    {"profile": "open", "edge": PUBLISHED | {"allowOpen": True}},
    {"api": {"disruptionBudget": {"minAvailable": "50%"}}, "worker": {"disruptionBudget": {"maxUnavailable": 0}}},
    {"redis": {"maxMemory": "2gb", "resources": {"limits": {"memory": "4.5Gi"}}}},
    {"redis": {"resources": {"limits": {"memory": 4294967296}}}},
    {"network": {"pods": ["fd00:10:244::/56", "10.244.0.0/16"], "publicIPv6": ""}},
    {"backup": {"enabled": True, "schedule": "@daily"}, "models": {"mode": "init"}},
    {"backup": {"enabled": True, "schedule": "30 2 * * mon-fri"}, "priorityClasses": {"create": True}},
    {"blobs": {"url": "s3://b/c", "region": "eu"}, "encryption": {"existingSecret": "keys"}},
    {"worker": {"autoscaling": {"mode": "hpa"}}, "api": {"autoscaling": {"enabled": False}}},
    {"redis": {"enabled": False}, "externalRedis": {"existingSecret": "x"}, "network": {"policies": False}},
]


def test_values_that_belong_together_give_documents_that_pass_the_schemas() -> None:
    told = answers(*({"values": values} for values in TAKEN))
    assert len(told) == len(TAKEN)
    for one, values in zip(told, TAKEN, strict=True):
        found = documents(one)
        assert {key: wrong for key, document in found.items() if (wrong := faults(document))} == {}, values


def test_a_budget_is_one_of_the_two_that_there_are() -> None:
    (answer,) = answers({"values": TAKEN[3]})
    found = documents(answer)
    budgets = {name: found["PodDisruptionBudget", f"murmuration-{name}"]["spec"] for name in ("api", "worker")}
    assert (budgets["api"]["minAvailable"], budgets["worker"]["maxUnavailable"]) == ("50%", 0)
    assert "maxUnavailable" not in budgets["api"]


def test_an_annotation_of_one_s_own_takes_the_chart_s_place() -> None:
    name = "nginx.ingress.kubernetes.io/limit-rps"
    own = {"host": "a.example.org", "ingress": {"enabled": True, "annotations": {name: "5", "own": "x"}}}
    (answer,) = answers({"values": {"edge": own}})
    text = answer["texts"]["edge.yaml"]
    assert text.count(name) == 1
    annotations = documents(answer)["Ingress", "murmuration-api"]["metadata"]["annotations"]
    assert (annotations[name], annotations["own"]) == ("5", "x")
    assert len(annotations) > 8
