"""The compose stack as files: what each service may, needs, keeps and how it stops. `make test-compose` runs it."""

import re

import pytest

from tests.compose_files import ROOT, SERVICES, STACK, memory, mounts, seconds, settings_of, stack

LONG_LIVED = sorted(set(SERVICES) - {"models", "edge-settings"})
NETWORKS = {
    "nginx": {"outside", "front"},
    "edge-metrics": {"front", "monitoring"},
    "edge-settings": {"front"},
    "api": {"outside", "front", "ledger", "monitoring"},
    "worker": {"outside", "ledger", "monitoring"},
    "models": {"outside"},
    "backup": {"outside", "ledger"},
    "redis": {"ledger"},
    "redis-cache": {"ledger"},
    "flower": {"front", "ledger", "monitoring"},
    "prometheus": {"outside", "monitoring"},
    "alertmanager": {"outside", "monitoring"},
    "grafana": {"front", "monitoring"},
}
LIMITS = {
    "nginx": 256 << 20, "edge-settings": 64 << 20, "api": 1 << 30, "worker": 6 << 30, "models": 1 << 30,
    "redis": 3 << 30, "redis-cache": 384 << 20, "flower": 512 << 20, "prometheus": 1 << 30, "alertmanager": 256 << 20,
    "grafana": 512 << 20, "backup": 512 << 20, "edge-metrics": 128 << 20,
}  # fmt: skip
VOLUMES = {
    "nginx": {"/etc/nginx/murmur": "./nginx:ro", "/edge": "edge:ro", "/var/log/edge": "edge-log"},
    "edge-settings": {"/etc/nginx/murmur": "./nginx:ro", "/edge": "edge"},
    "edge-metrics": {"/var/log/edge": "edge-log"},
    "api": {"/data": "data"},
    "worker": {"/data": "data", "/data/models": "models"},
    "models": {"/data/models": "models"},
    "backup": {"/data": "data", "/backups": "backups"},
    "redis": {"/data": "ledger"},
    "prometheus": {"/etc/prometheus": "./monitoring/prometheus:ro", "/prometheus": "prometheus"},
    "alertmanager": {"/etc/alertmanager": "./monitoring/alertmanager:ro", "/alertmanager": "alertmanager"},
    "grafana": {
        "/etc/grafana/provisioning": "./monitoring/grafana/provisioning:ro",
        "/etc/murmur/dashboards": "./monitoring/grafana/dashboards:ro",
        "/var/lib/grafana": "grafana",
    },
}


def options(service: str) -> dict[str, str]:
    """The options of a Redis server's command."""
    name, *given = SERVICES[service]["command"]
    assert name == "redis-server"
    return dict(option.removeprefix("--").split(" ", 1) for option in given)


def test_the_stack_has_these_services_and_no_other() -> None:
    assert set(SERVICES) == set(NETWORKS) == set(LIMITS)
    assert STACK["name"] == "murmuration"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_may_do_no_more_than_it_must(name: str) -> None:
    service = SERVICES[name]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp:mode=1777,size=64m"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "userns_mode", "devices"} & set(service)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_keeps_to_its_memory_and_its_logs_to_their_length(name: str) -> None:
    assert memory(SERVICES[name]["mem_limit"]) == LIMITS[name]
    assert SERVICES[name]["logging"] == {"driver": "json-file", "options": {"max-size": "10m", "max-file": "5"}}


@pytest.mark.parametrize("name", LONG_LIVED)
def test_a_service_that_ends_is_started_again(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_reaches_only_what_it_needs(name: str) -> None:
    assert set(SERVICES[name]["networks"]) == NETWORKS[name]


def test_where_processes_have_children_somebody_reaps_them() -> None:
    """Uploads are judged, and recordings decoded, in processes of their own."""
    assert {name for name, service in SERVICES.items() if service.get("init")} == {"api", "worker"}


def test_only_the_network_that_leads_outside_leads_outside() -> None:
    assert STACK["networks"] == {
        "outside": None,
        "front": {"internal": True},
        "ledger": {"internal": True},
        "monitoring": {"internal": True},
    }


def test_only_the_edge_is_open_to_others() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert ports == {"nginx": ["127.0.0.1:80:8080"]}
    assert stack(environment={"MURMUR_HTTP_PORT": "8088"})["services"]["nginx"]["ports"] == ["127.0.0.1:8088:8080"]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_what_a_service_keeps_lies_where_it_looks_and_configuration_can_not_be_written(name: str) -> None:
    assert mounts(SERVICES[name]) == VOLUMES.get(name, {})
    for source in mounts(SERVICES[name]).values():
        if source.startswith("./"):
            assert (ROOT / source.removesuffix(":ro")).is_dir()
        else:
            assert source.removesuffix(":ro") in STACK["volumes"]


def test_every_volume_is_somebodys() -> None:
    sources = {source.removesuffix(":ro") for service in SERVICES.values() for source in mounts(service).values()}
    assert set(STACK["volumes"]) == {source for source in sources if not source.startswith("./")}
    assert {name for name, options in STACK["volumes"].items() if options} == {"edge-log"}


def test_what_nginx_counts_is_in_memory_and_of_one_user_who_writes_and_empties_it() -> None:
    nginx, reader = SERVICES["nginx"], SERVICES["edge-metrics"]
    user, group = nginx["user"].split(":")
    assert reader["user"] == nginx["user"]
    options = STACK["volumes"]["edge-log"]["driver_opts"]
    assert (options["type"], options["device"]) == ("tmpfs", "tmpfs")
    assert {f"uid={user}", f"gid={group}", "size=64m"} <= set(options["o"].split(","))
    assert f"--log={nginx['environment']['EDGE_COUNTED_LOG']}" in reader["command"]
    assert "--status=http://nginx:8081/-/status" in reader["command"]
    assert "EDGE_STATUS_LISTEN:-8081}" in (ROOT / "nginx" / "render.sh").read_text("utf-8")


def test_how_many_replicas_there_should_be_is_known_to_who_tells_prometheus() -> None:
    more = stack(environment={"MURMUR_API_REPLICAS": "4", "MURMUR_WORKER_REPLICAS": "3"})["services"]["edge-metrics"]
    assert {"--wanted=api=4", "--wanted=worker=3"} <= set(more["command"])
    assert {"--wanted=api=2", "--wanted=worker=1"} <= set(SERVICES["edge-metrics"]["command"])


def test_a_service_starts_when_what_it_needs_is_there() -> None:
    needs = {
        name: {other: how["condition"] for other, how in service["depends_on"].items()}
        for name, service in SERVICES.items()
        if "depends_on" in service
    }
    assert needs == {
        "nginx": {"api": "service_healthy"},
        "api": {"redis": "service_healthy"},
        "worker": {"redis": "service_healthy", "models": "service_completed_successfully"},
        "flower": {"redis": "service_healthy"},
        "backup": {"redis": "service_healthy"},
    }
    assert SERVICES["models"]["restart"] == "no"
    assert SERVICES["models"]["command"] == ["python", "-m", "worker.download_models"]


def test_a_stop_waits_for_what_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    api = settings_of(SERVICES["api"], monkeypatch)
    stops = {name: seconds(one["stop_grace_period"]) for name, one in SERVICES.items() if "stop_grace_period" in one}
    assert stops["api"] > api.api.stop_s > api.api.max_wait_s
    finishing = re.search(r"EDGE_STOP_S:-(\d+)", (ROOT / "nginx" / "start.sh").read_text("utf-8"))
    assert finishing
    # Nobody can connect while nginx finishes.
    assert stops["nginx"] > int(finishing[1]) <= 3
    assert SERVICES["nginx"]["stop_signal"] == "SIGQUIT"
    assert 20 <= stops["worker"] <= 60
    assert stops["redis"] >= 60
    assert stops["redis-cache"] >= 10
    assert stops["prometheus"] >= 60
    assert {name for name, one in SERVICES.items() if "stop_signal" in one} == {"nginx"}


def test_the_ledger_never_forgets_and_the_cache_may() -> None:
    ledger, cache = options("redis"), options("redis-cache")
    assert ledger.pop("user").startswith("flower on ")
    assert ledger == {
        "dir": "/data", "protected-mode": "no", "appendonly": "yes", "appendfsync": "everysec", "save": '""',
        "requirepass": '""',
        "maxmemory-policy": "noeviction", "maxmemory": "1gb", "maxclients": "10000", "stream-node-max-bytes": "512",
    }  # fmt: skip
    assert cache == {
        "requirepass": '""',
        "dir": "/tmp", "protected-mode": "no", "appendonly": "no", "save": '""', "maxmemory-policy": "allkeys-lru",
        "maxmemory": "256mb",
    }  # fmt: skip
    # Rewriting the append-only file can take as much again.
    assert memory(SERVICES["redis"]["mem_limit"]) >= 2 * memory(ledger["maxmemory"])
    assert memory(SERVICES["redis-cache"]["mem_limit"]) > memory(cache["maxmemory"])
    for name in ("redis", "redis-cache"):
        assert (SERVICES[name]["image"], SERVICES[name]["user"]) == ("redis:8-alpine", "redis")


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_no_service_can_fill_the_host_with_processes(service: str) -> None:
    assert SERVICES[service]["pids_limit"] == 512
