"""What the chart promises: who may do what, and who knows which secret."""

import pytest
import yaml

from tests.kubernetes.charts import ROOT, pods, profiles
from tests.kubernetes.rendered import BASE, environment, of


@pytest.mark.parametrize("profile", sorted(profiles()))
def test_a_pod_may_do_no_more_than_it_must(profile: str) -> None:
    told = pods(profiles()[profile])
    assert {"api", "worker", "redis-cache"} <= set(told)
    for pod in told.values():
        assert pod["automountServiceAccountToken"] is False
        own = pod["securityContext"]
        assert own["runAsNonRoot"] is True
        assert own["runAsUser"] >= 999
        assert own["seccompProfile"] == {"type": "RuntimeDefault"}
        for one in (*pod["containers"], *pod.get("initContainers", ())):
            assert one["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    accounts = [document for (kind, _), document in profiles()[profile].items() if kind == "ServiceAccount"]
    assert len(accounts) >= 2
    assert all(account["automountServiceAccountToken"] is False for account in accounts)
    assert not {"Role", "ClusterRole", "RoleBinding"} & {kind for kind, _ in profiles()[profile]}


def test_the_namespace_of_the_plain_manifests_refuses_pods_that_may_do_more() -> None:
    text = (ROOT / "deploy" / "kubernetes" / "base" / "murmuration.yaml").read_text("utf-8")
    namespace = next(one for one in yaml.safe_load_all(text) if one["kind"] == "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def secrets(profile: str) -> dict[str, set[str]]:
    """Every secret, and its key where it is one, that a component's pod can read."""
    told: dict[str, set[str]] = {}
    for component, pod in pods(profiles()[profile]).items():
        known = told.setdefault(component, set())
        for one in (*pod["containers"], *pod.get("initContainers", ())):
            known |= {source["secretRef"]["name"] for source in one.get("envFrom", ()) if "secretRef" in source}
            for entry in one.get("env", ()):
                reference = entry.get("valueFrom", {}).get("secretKeyRef")
                if reference:
                    known.add(f"{reference['name']}/{reference['key']}")
        known |= {volume["secret"]["secretName"] for volume in pod.get("volumes", ()) if "secret" in volume}
    return told


def test_a_worker_which_decodes_what_strangers_send_knows_the_ledger_s_password_alone() -> None:
    assert secrets("base") == {
        "api": {"murmuration-api", "murmuration-redis/password"},
        "worker": {"murmuration-redis/password"},
        "models": set(),
        "redis": {"murmuration-redis/password"},
        "redis-cache": {"murmuration-redis/password"},
    }
    bucket = {"bucket/AWS_ACCESS_KEY_ID", "bucket/AWS_SECRET_ACCESS_KEY"}
    assert secrets("elsewhere") == {
        "api": {"ledger/url", "password/password", "keys", *bucket},
        # It fetches the models itself here, before it starts: the hub's token is its init container's alone.
        "worker": {"ledger/url", "keys", "hub", *bucket},
        "backup": {"ledger/url", "keys", "backups/AWS_ACCESS_KEY_ID", "backups/AWS_SECRET_ACCESS_KEY"},
        "redis-cache": {"password/password"},
    }
    worker = pods(profiles()["elsewhere"])["worker"]
    assert "hub" not in str(worker["containers"])
    assert "keys" not in str(worker["initContainers"][0]["volumeMounts"])


def test_what_only_the_api_needs_is_not_in_a_worker_s_environment() -> None:
    told = environment("base", "worker")
    assert not {name for name in told if name.startswith(("MURMUR_API__", "MURMUR_SECURITY__", "MURMUR_WEBHOOK__"))}
    assert "MURMUR_LEDGER__CACHE_URL" not in told
    # So that webhooks are sent all the same:
    assert told["MURMUR_WORKER__WEBHOOKS"] == "false"
    assert environment("base", "api")["MURMUR_API__HOUSEKEEPING"] == "true"


def test_redis_asks_for_a_password_of_a_secret_that_its_clients_have() -> None:
    secret = {"valueFrom": {"secretKeyRef": {"name": "murmuration-redis", "key": "password"}}}
    for name in ("redis", "redis-cache"):
        assert of(name)["env"] == [{"name": "REDISCLI_AUTH", **secret}]
        assert "--requirepass $(REDISCLI_AUTH)" in of(name)["args"]
    ledger = {"name": "MURMUR_LEDGER__URL", "value": "redis://:$(REDIS_PASSWORD)@murmuration-redis:6379/0"}
    cache = {"name": "MURMUR_LEDGER__CACHE_URL", "value": "redis://:$(REDIS_PASSWORD)@murmuration-redis-cache:6379/0"}
    # Kubernetes fills in what was named before.
    assert of("api")["env"] == [{"name": "REDIS_PASSWORD", **secret}, ledger, cache]
    assert of("worker")["env"][:2] == [{"name": "REDIS_PASSWORD", **secret}, ledger]


def test_who_names_no_secret_gets_a_password_that_nobody_could_guess() -> None:
    made = profiles()["defaults"]["Secret", "murmuration-redis"]
    assert len(made["data"]["password"]) >= 48
    # An upgrade, and an uninstall, leave it.
    assert made["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    assert "Secret" not in {kind for kind, _ in BASE}
