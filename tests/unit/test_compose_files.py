"""The compose stack as files: what each service may, needs, keeps and says of itself. `make test-compose` runs it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from murmur.platform import allocator
from tests.compose_files import ROOT, Missing, filled, memory, seconds, stack
from transcription.ledger.broker import celery_app
from transcription.settings import Settings

STACK = stack()
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
PROMETHEUS = yaml.safe_load((ROOT / "monitoring" / "prometheus" / "prometheus.yml").read_text("utf-8"))
LONG_LIVED = sorted(set(SERVICES) - {"models"})
ASKED = sorted(set(LONG_LIVED) - {"backup"})  # what its own health check asks; an alert watches the other
DOCKERFILES = {"api": "Dockerfile.api", "flower": "Dockerfile.api", "worker": "Dockerfile.worker"}
NETWORKS = {
    "nginx": {"outside", "front"},
    "api": {"outside", "front", "ledger", "monitoring"},
    "worker": {"outside", "ledger", "monitoring"},
    "models": {"outside"},
    "backup": {"outside", "ledger"},
    "redis": {"ledger"},
    "redis-cache": {"ledger"},
    "flower": {"front", "ledger", "monitoring"},
    "prometheus": {"monitoring"},
    "alertmanager": {"outside", "monitoring"},
    "grafana": {"front", "monitoring"},
}
LIMITS = {
    "nginx": 256 << 20, "api": 1 << 30, "worker": 6 << 30, "models": 1 << 30, "redis": 3 << 30,
    "redis-cache": 384 << 20, "flower": 512 << 20, "prometheus": 1 << 30, "alertmanager": 256 << 20,
    "grafana": 512 << 20, "backup": 512 << 20,
}  # fmt: skip
VOLUMES = {
    "nginx": {"/etc/nginx/murmur": "./nginx:ro"},
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


def settings_of(service: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """What the platform's own settings make of a service's environment."""
    for name, value in service["environment"].items():
        if name.startswith("MURMUR_"):
            monkeypatch.setenv(name, str(value))
    return Settings()


def options(service: str) -> dict[str, str]:
    """The options of a Redis server's command."""
    name, *given = SERVICES[service]["command"]
    assert name == "redis-server"
    return dict(option.removeprefix("--").split(" ", 1) for option in given)


def mounts(service: dict[str, Any]) -> dict[str, str]:
    found = {}
    for entry in service.get("volumes", ()):
        source, target, *mode = entry.split(":")
        found[target] = ":".join((source, *mode))
    return found


def healthcheck(dockerfile: str, stage: str) -> dict[str, Any]:
    """The health check of an image: its options in seconds, and its command."""
    stages = re.split(r"^FROM ", (ROOT / dockerfile).read_text("utf-8"), flags=re.MULTILINE)
    (text,) = [one for one in stages if one.split("\n")[0].endswith(f" AS {stage}")]
    found = re.search(r"^HEALTHCHECK (.*?)\\\n\s+CMD (\[.*\])$", text, re.MULTILINE)
    assert found, f"{dockerfile}: {stage} has no health check"
    told = dict(option.removeprefix("--").split("=") for option in found[1].split())
    return {
        "test": yaml.safe_load(found[2]),
        **{name: int(value) if name == "retries" else seconds(value) for name, value in told.items()},
    }


def checks() -> dict[str, dict[str, Any]]:
    """Every service's health check, whether the stack or the image has it."""
    found: dict[str, dict[str, Any]] = {}
    for name, service in SERVICES.items():
        told = service.get("healthcheck")
        if told is None:
            found[name] = healthcheck(DOCKERFILES[name], name)
        elif not told.get("disable"):
            times = {key: seconds(value) for key, value in told.items() if key not in ("test", "retries")}
            found[name] = {"test": told["test"], "retries": told["retries"], **times}
    return found


# ---------------------------------------------------------------- every service


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
            assert source in STACK["volumes"]


def test_every_volume_is_somebodys() -> None:
    assert set(STACK["volumes"]) == {source for service in SERVICES.values() for source in mounts(service).values()} - {
        source for service in SERVICES.values() for source in mounts(service).values() if source.startswith("./")
    }
    assert {*STACK["volumes"].values()} == {None}


def test_images_of_others_are_pinned_and_ours_are_built_here() -> None:
    for service in SERVICES.values():
        if service["image"].startswith("murmuration-"):
            assert ":" not in service["image"]
        else:
            assert re.search(r":(v?\d[\w.-]*|stable-alpine)$", service["image"]), service["image"]
    built = {
        name: (one["build"]["dockerfile"], one["build"].get("target"))
        for name, one in SERVICES.items()
        if "build" in one
    }
    assert built == {
        "api": ("Dockerfile.api", "api"),
        "worker": ("Dockerfile.worker", None),
        "flower": ("Dockerfile.api", "flower"),
    }
    assert SERVICES["models"]["image"] == SERVICES["worker"]["image"]
    assert SERVICES["models"]["pull_policy"] == "never"


# ---------------------------------------------------------------- who waits for whom, and who is well


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


def test_every_service_says_whether_it_is_well() -> None:
    found = checks()
    assert set(found) == set(ASKED)
    for name, check in found.items():
        assert 2 <= check["retries"] <= 5, name
        assert 0 < check["timeout"] <= 5 <= check["interval"] <= 30, name
        assert check["timeout"] < check["interval"], name


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("nginx", "http://127.0.0.1:8080/-/edge"),
        ("api", "http://127.0.0.1:8000/health/live"),
        ("flower", "http://127.0.0.1:5555/flower/healthcheck"),
        ("prometheus", "http://127.0.0.1:9090/-/healthy"),
        ("alertmanager", "http://127.0.0.1:9093/-/healthy"),
        ("grafana", "http://127.0.0.1:3000/api/health"),
        ("worker", "worker/health_check.py"),
        ("redis", "redis-cli ping | grep -q PONG"),
        ("redis-cache", "redis-cli ping | grep -q PONG"),
    ],
)
def test_a_health_check_asks_the_service_itself(name: str, asked: str) -> None:
    kind, *rest = checks()[name]["test"]
    assert asked in " ".join([kind, *rest])
    assert not re.search(r"\|\| *(true|exit 0|:)", " ".join(rest))


def test_replicas_are_told_apart_from_dead_ones_soon() -> None:
    api = checks()["api"]
    assert api["interval"] * api["retries"] <= 15
    assert api["start-period"] >= 20


# ---------------------------------------------------------------- stops


def test_a_stop_waits_for_what_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    api = settings_of(SERVICES["api"], monkeypatch)
    stops = {name: seconds(one["stop_grace_period"]) for name, one in SERVICES.items() if "stop_grace_period" in one}
    assert stops["api"] > api.api.stop_s > api.api.max_wait_s
    template = (ROOT / "nginx" / "nginx.conf.template").read_text("utf-8")
    finishing = re.search(r"^worker_shutdown_timeout (\w+);", template, re.MULTILINE)
    assert finishing
    assert stops["nginx"] > seconds(finishing[1]) >= api.api.max_wait_s
    assert SERVICES["nginx"]["stop_signal"] == "SIGQUIT"
    assert 20 <= stops["worker"] <= 60
    assert stops["redis"] >= 60
    assert stops["redis-cache"] >= 10
    assert stops["prometheus"] >= 60
    assert {name for name, one in SERVICES.items() if "stop_signal" in one} == {"nginx"}


# ---------------------------------------------------------------- the ledger


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


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize("name", ["api", "worker", "backup"])
def test_settings_lead_to_the_services_that_there_are(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = settings_of(SERVICES[name], monkeypatch)
    assert told.ledger.url.get_secret_value() == told.ledger.broker() == "redis://:@redis:6379/0"
    assert (told.ledger.cache() == "redis://:@redis-cache:6379/0") is (name == "api")
    assert told.data_dir == Path("/data")
    assert str(told.data_dir) in mounts(SERVICES[name])


@pytest.mark.parametrize("name", ["api", "worker", "models"])
def test_the_model_is_one_for_all_and_lies_where_it_is_looked_for(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = settings_of(SERVICES[name], monkeypatch)
    assert told.model == "base"
    assert {str(told.data_dir), str(told.model_dir)} & set(mounts(SERVICES[name]))


def test_flower_watches_the_broker_that_workers_listen_to(monkeypatch: pytest.MonkeyPatch) -> None:
    with celery_app(settings_of(SERVICES["worker"], monkeypatch)) as app:
        watched = SERVICES["flower"]["environment"]["CELERY_BROKER_URL"]
        assert watched.replace("flower:@", ":@") == app.conf.broker_url
    command = SERVICES["flower"]["command"]
    assert command[:3] == ["celery", "flower", "--url-prefix=flower"]
    assert {"--purge-offline-workers=60", "--max-tasks=20000"} < set(command)
    (columns,) = (part.partition("=")[2].split(",") for part in command if part.startswith("--tasks-columns="))
    assert {"name", "state", "result", "exception", "uuid"} <= set(columns)


def test_the_api_believes_only_the_edge_and_shows_its_figures_inside_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    told = settings_of(SERVICES["api"], monkeypatch)
    private = "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16"
    assert told.security.trusted_proxies == private
    assert told.security.metrics == f"127.0.0.0/8,{private}"
    assert (told.api.host, told.api.port) == ("0.0.0.0", 8000)


def test_limits_of_the_edge_are_the_apis(monkeypatch: pytest.MonkeyPatch) -> None:
    edge, api = SERVICES["nginx"]["environment"], settings_of(SERVICES["api"], monkeypatch)
    assert int(edge["MURMUR_LIMITS__MAX_UPLOAD_BYTES"]) == api.limits.max_upload_bytes
    assert {name: edge[f"MURMUR_EDGE_{name}"] for name in ("REQUESTS_PER_S", "BURST", "CONNECTIONS")} == {
        "REQUESTS_PER_S": "100",
        "BURST": "200",
        "CONNECTIONS": "200",
    }
    larger = stack(environment={"MURMUR_LIMITS__MAX_UPLOAD_BYTES": "5000"})["services"]
    for name in ("nginx", "api"):
        assert larger[name]["environment"]["MURMUR_LIMITS__MAX_UPLOAD_BYTES"] == "5000"


def test_without_a_password_operators_pages_stay_closed_and_with_one_it_is_everywhere() -> None:
    assert SERVICES["nginx"]["environment"]["MURMUR_OPERATOR_PASSWORD"] == ""
    grafana = SERVICES["grafana"]["environment"]
    assert grafana["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert grafana["GF_AUTH_BASIC_ENABLED"] == "false"
    told = stack(environment={"MURMUR_OPERATOR_PASSWORD": "sesame"})["services"]
    assert told["nginx"]["environment"]["MURMUR_OPERATOR_PASSWORD"] == "sesame"
    assert told["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD"] == "sesame"
    other = stack(environment={"MURMUR_OPERATOR_PASSWORD": "x", "MURMUR_GRAFANA_PASSWORD": "y"})["services"]
    assert other["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD"] == "y"


def test_grafana_lives_under_its_path_and_calls_nobody() -> None:
    grafana = SERVICES["grafana"]["environment"]
    assert grafana["GF_SERVER_ROOT_URL"].endswith("/grafana/")
    assert grafana["GF_SERVER_SERVE_FROM_SUB_PATH"] == "true"
    for name in ("REPORTING_ENABLED", "CHECK_FOR_UPDATES", "CHECK_FOR_PLUGIN_UPDATES"):
        assert grafana[f"GF_ANALYTICS_{name}"] == "false"
    assert grafana["GF_PLUGINS_PREINSTALL_DISABLED"] == "true"
    home = Path(grafana["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (ROOT / "monitoring" / "grafana" / "dashboards" / home.name).is_file()
    assert str(home.parent) in mounts(SERVICES["grafana"])


FIXED = {
    "MURMUR_DATA_DIR", "MURMUR_API__HOST", "MURMUR_API__PORT", "MURMUR_API__STOP_S", "MURMUR_WORKER__METRICS_PORT",
    "MURMUR_API__HOUSEKEEPING", "MURMUR_WORKER__WEBHOOKS", "MURMUR_SECURITY__TRUSTED_PROXIES", "MURMUR_BACKUP__DIR",
}  # fmt: skip
NOT_HERE = {"MURMUR_WORKER__MLX__MEMORY_BYTES", "MURMUR_WORKER__MLX__CACHE_BYTES"}
SECRETS = {
    "MURMUR_WEBHOOK__SECRETS", "MURMUR_BLOBS__SECRET", "MURMUR_API__RAPIDAPI_SECRET", "MURMUR_OPERATOR_PASSWORD",
    "MURMUR_GRAFANA_PASSWORD", "MURMUR_FLOWER_PASSWORD", "MURMUR_BACKUP_SECRET_ACCESS_KEY", "HF_TOKEN",
}  # fmt: skip


def readers(name: str) -> set[str]:
    """The services whose container a changed variable changes."""
    changed = stack(environment={name: "changed"})["services"]
    return {service for service, one in changed.items() if one != SERVICES[service]}


def leaves(part: type[BaseModel] = Settings, prefix: str = "MURMUR_") -> Iterator[str]:
    for name, field in part.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaves(field.annotation, f"{prefix}{name.upper()}__")
        else:
            yield f"{prefix}{name.upper()}"


@pytest.mark.parametrize("name", sorted(set(leaves()) - FIXED - NOT_HERE))
def test_a_setting_reaches_the_services_that_read_it_and_restarts_no_other(name: str) -> None:
    part = name.removeprefix("MURMUR_").partition("__")[0]
    only = {"API": {"api"}, "OUTBOUND": {"api"}, "WEBHOOK": {"api"}, "BACKUP": {"backup"}}.get(part)
    found = readers(name)
    assert found
    if only:
        assert found == only
    if part == "WORKER":
        assert "worker" in found <= {"worker", "models"}
    if part in {"LEASE", "RETENTION"}:
        assert found == {"api", "worker"}
    if part == "SECURITY" and "SANDBOX" not in name:
        assert found == {"api"}
    assert found <= {"api", "worker", "models", "backup", "nginx"}


def test_what_is_fixed_is_set_and_no_service_reads_all_of_the_operators_file() -> None:
    assert {name for name in FIXED if readers(name)} == set()
    told = {name for service in SERVICES.values() for name in service.get("environment", {})}
    assert told >= FIXED
    assert not any("env_file" in service for service in SERVICES.values())


def test_who_decodes_hostile_files_has_no_secret_but_the_ledgers() -> None:
    everything = dict.fromkeys(SECRETS, "hush")
    worker = stack(environment=everything)["services"]["worker"]
    assert "hush" not in str(worker)
    assert worker["environment"]["MURMUR_WORKER__WEBHOOKS"] == "false"
    assert SERVICES["api"]["environment"]["MURMUR_API__HOUSEKEEPING"] == "true"
    assert "redis://" not in str(SERVICES["models"])
    for name in SECRETS:
        assert readers(name), name
        assert "worker" not in readers(name)


def test_how_many_run_is_a_setting_that_changes_no_container() -> None:
    assert (SERVICES["api"]["scale"], SERVICES["worker"]["scale"]) == ("2", "1")
    more = stack(environment={"MURMUR_API_REPLICAS": "4", "MURMUR_WORKER_REPLICAS": "3"})["services"]
    assert (more["api"]["scale"], more["worker"]["scale"]) == ("4", "3")


def test_a_ledger_of_the_operators_own_is_used_by_all_who_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"MURMUR_LEDGER__URL": "rediss://u:p@elsewhere:6379/0", "MURMUR_REDIS_PASSWORD": "other"}
    services = stack(environment=own)["services"]
    for name in ("api", "worker", "backup"):
        told = settings_of(services[name], monkeypatch)
        assert told.ledger.url.get_secret_value() == told.ledger.broker() == own["MURMUR_LEDGER__URL"]
    with pytest.raises(Missing, match="say where the ledger is"):
        stack("docker-compose.redis.yml")
    without = stack("docker-compose.redis.yml", environment=own | {"MURMUR_FLOWER_BROKER_URL": "rediss://f@e"})[
        "services"
    ]
    assert set(without) == set(SERVICES) - {"redis"}
    assert not any("redis" in one.get("depends_on", {}) for one in without.values())
    assert without["worker"]["depends_on"] == {"models": {"condition": "service_completed_successfully"}}
    assert without["flower"]["environment"]["CELERY_BROKER_URL"] == "rediss://f@e"
    for name in ("api", "worker", "backup", "flower"):
        assert "outside" in without[name]["networks"]
        assert (
            without[name]
            .get("environment", {})
            .get("MURMUR_LEDGER__URL", own["MURMUR_LEDGER__URL"])
            .endswith("elsewhere:6379/0")
        )


# ---------------------------------------------------------------- who is watched


def test_prometheus_scrapes_every_replica_where_it_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = {job["job_name"]: job for job in PROMETHEUS["scrape_configs"]}
    found = {
        name: (one["names"], one["type"], one["port"])
        for name, job in jobs.items()
        for one in job.get("dns_sd_configs", ())
    }
    worker = settings_of(SERVICES["worker"], monkeypatch)
    assert found == {"api": (["api"], "A", 8000), "worker": (["worker"], "A", worker.worker.metrics_port)}
    fixed = {name: (job.get("metrics_path"), job["static_configs"]) for name, job in jobs.items() if name not in found}
    assert fixed == {
        "ledger": ("/metrics/ledger", [{"targets": ["api:8000"]}]),
        "flower": ("/flower/metrics", [{"targets": ["flower:5555"]}]),
        "prometheus": (None, [{"targets": ["localhost:9090"]}]),
        "alertmanager": (None, [{"targets": ["alertmanager:9093"]}]),
    }
    for name in ("api", "worker", "flower", "alertmanager"):
        assert "monitoring" in NETWORKS[name]
    looks = [one["refresh_interval"] for job in jobs.values() for one in job.get("dns_sd_configs", ())]
    assert len(looks) == 2
    assert max(map(seconds, looks)) <= 15
    assert seconds(PROMETHEUS["global"]["scrape_interval"]) <= 15
    assert seconds(PROMETHEUS["global"]["evaluation_interval"]) <= 15


def test_alerts_reach_the_alertmanager() -> None:
    (manager,) = PROMETHEUS["alerting"]["alertmanagers"]
    assert manager["static_configs"] == [{"targets": ["alertmanager:9093"]}]
    assert PROMETHEUS["rule_files"] == ["/etc/prometheus/rules/*.yml"]
    assert list((ROOT / "monitoring" / "prometheus" / "rules").glob("*.yml"))
    assert "--config.file=/etc/prometheus/prometheus.yml" in SERVICES["prometheus"]["command"]
    assert "--storage.tsdb.path=/prometheus" in SERVICES["prometheus"]["command"]
    assert "--storage.tsdb.retention.time=15d" in SERVICES["prometheus"]["command"]
    routing = yaml.safe_load((ROOT / "monitoring" / "alertmanager" / "alertmanager.yml").read_text("utf-8"))
    assert routing["route"]["receiver"] in {receiver["name"] for receiver in routing["receivers"]}
    assert seconds(routing["route"]["group_wait"]) <= 60
    assert seconds(routing["route"]["repeat_interval"]) >= 3600


# ---------------------------------------------------------------- what is laid over it


def test_a_mac_has_everything_but_the_worker_and_opens_the_ledger_to_itself_alone() -> None:
    (include,) = yaml.safe_load((ROOT / "docker-compose.macos.yml").read_text("utf-8"))["include"]
    first, *others = include["path"]
    assert first == "docker-compose.yml"
    with pytest.raises(Missing, match="MURMUR_BLOBS__SECRET"):
        stack(*others)
    services = stack(*others, environment={"MURMUR_BLOBS__SECRET": "s" * 16})["services"]
    assert set(services) == set(SERVICES) - {"worker", "models"}
    assert services["redis"]["ports"] == ["127.0.0.1:6379:6379"]
    assert set(services["redis"]["networks"]) == {"outside", "ledger"}
    assert services["api"]["environment"]["MURMUR_BLOBS__SECRET"] == "s" * 16


def test_https_is_published_beside_http_with_certificates_that_can_not_be_written() -> None:
    nginx = stack("docker-compose.tls.yml")["services"]["nginx"]
    assert nginx["ports"] == ["127.0.0.1:80:8080", "127.0.0.1:443:8443"]
    assert mounts(nginx)["/etc/nginx/tls"] == "./tls:ro"
    assert "EDGE_HTTPS_LISTEN:-8443}" in (ROOT / "nginx" / "start.sh").read_text("utf-8")


def test_the_key_file_is_mounted_for_those_who_encrypt_and_nobody_else() -> None:
    services = stack("docker-compose.encryption.yml", environment={"MURMUR_ENCRYPTION_KEYS": "./keys"})["services"]
    assert {"api", "worker", "nginx"} <= services.keys()
    for name, service in services.items():
        mounted = "./keys:/run/murmur/keys:ro" in service.get("volumes", [])
        assert mounted is (name in {"api", "worker", "backup"}), name
        named = service.get("environment", {}).get("MURMUR_ENCRYPTION__KEY_FILE") == "/run/murmur/keys"
        assert named is mounted, name


def test_a_bucket_is_told_to_both_sides_and_never_silently_forgotten() -> None:
    with pytest.raises(Missing, match="MURMUR_BLOBS__URL"):
        stack("docker-compose.s3.yml")
    keys = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION"), "given")
    bucket = {"MURMUR_BLOBS__URL": "s3://recordings/here"}
    services = stack("docker-compose.s3.yml", environment=bucket | keys)["services"]
    for name in ("api", "worker"):
        told = services[name]["environment"]
        assert told["MURMUR_BLOBS__URL"] == "s3://recordings/here"
        assert keys.items() < told.items()
        assert "MURMUR_BLOBS__ENDPOINT" in told


def test_workers_with_a_gpu_have_one_and_compute_on_it() -> None:
    services = stack("docker-compose.cuda.yml")["services"]
    worker = services["worker"]
    assert (worker["environment"]["MURMUR_DEVICE"], worker["build"]["args"]["ACCELERATOR"]) == ("cuda", "cuda")
    assert worker["image"] == services["models"]["image"] == "murmuration-worker:cuda"
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "1", "capabilities": ["gpu"]}
    assert memory(worker["mem_limit"]) == 12 << 30
    assert worker["environment"]["MURMUR_LEDGER__URL"] == "redis://:@redis:6379/0"


def test_workers_that_compute_in_torch_are_those_with_a_gpu_and_another_image() -> None:
    services = stack("docker-compose.cuda.yml", "docker-compose.torch.yml")["services"]
    worker = services["worker"]
    assert (worker["environment"]["MURMUR_WORKER__ENGINE"], worker["environment"]["MURMUR_DEVICE"]) == ("torch", "cuda")
    assert worker["build"]["args"]["ACCELERATOR"] == "torch"
    assert worker["image"] == services["models"]["image"] == "murmuration-worker:torch"
    assert worker["deploy"]["resources"]["reservations"]["devices"]


@pytest.mark.parametrize("accelerator", ["cpu", "cuda", "torch"])
def test_the_worker_s_image_has_a_lock_for_every_accelerator(accelerator: str) -> None:
    lock = {"cpu": "worker"}.get(accelerator, accelerator)
    assert f"COPY requirements/{lock}.txt /tmp/worker-{accelerator}.txt" in (ROOT / "Dockerfile.worker").read_text(
        "utf-8"
    )
    locked = set(re.findall(r"(?m)^([\w-]+)==", (ROOT / "requirements" / f"{lock}.txt").read_text("utf-8")))
    wanted = {
        "cpu": set(),
        "cuda": {"nvidia-cublas-cu12", "nvidia-ml-py"},
        "torch": {"torch", "nvidia-ml-py", "safetensors"},
    }
    assert {"ctranslate2", "celery", *wanted[accelerator]} <= locked
    assert "openvino-telemetry" not in locked


def test_variables_are_filled_in_as_compose_does() -> None:
    assert filled("${A:-x}/${B:-${A:-y}}/$$/${C}", {"A": "a"}) == "a/a/$/"
    assert filled("${A:-x}", {"A": ""}) == "x"
    with pytest.raises(Missing, match="say which"):
        filled("${A:?say which}", {})


def test_redis_asks_for_the_password_that_its_clients_have() -> None:
    services = stack(environment={"MURMUR_REDIS_PASSWORD": "s3cret"})["services"]
    for name in ("redis", "redis-cache"):
        assert '--requirepass "s3cret"' in services[name]["command"]
        assert services[name]["environment"]["REDISCLI_AUTH"] == "s3cret"
    for name, count in (("api", 2), ("worker", 1), ("backup", 1)):
        environment = services[name]["environment"]
        urls = [value for key, value in environment.items() if key.startswith("MURMUR_LEDGER__") and "redis" in value]
        assert len(urls) == count
        assert all(url.startswith("redis://:s3cret@") for url in urls)
    assert "s3cret" not in str(services["flower"])


def test_flower_has_a_user_of_its_own_with_a_password_where_there_is_one() -> None:
    def user(**environment: str) -> str:
        services = stack(environment=environment)["services"]
        (line,) = [part for part in services["redis"]["command"] if part.startswith("--user")]
        return str(line)

    assert user().startswith("--user flower on nopass resetchannels &/0.* &/0.celeryev/* ~murmur ")
    assert user(MURMUR_FLOWER_PASSWORD="petal").startswith("--user flower on >petal resetchannels ")
    told = stack(environment={"MURMUR_FLOWER_PASSWORD": "petal"})["services"]["flower"]["environment"]
    assert told["CELERY_BROKER_URL"] == "redis://flower:petal@redis:6379/0"


def test_the_platform_is_published_to_this_machine_until_it_is_opened() -> None:
    assert stack()["services"]["nginx"]["ports"] == ["127.0.0.1:80:8080"]
    opened = stack(environment={"MURMUR_HTTP_ADDRESS": "0.0.0.0"})["services"]["nginx"]["ports"]
    assert opened == ["0.0.0.0:80:8080"]


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_no_service_can_fill_the_host_with_processes(service: str) -> None:
    assert SERVICES[service]["pids_limit"] == 512


def test_the_worker_s_image_tells_the_allocator_what_murmur_up_tells_it() -> None:
    text = (ROOT / "Dockerfile.worker").read_text("utf-8")
    assert {
        name: value for name, value in re.findall(r"(\w+)=(\S+)", text) if "MALLOC" in name or "TUNABLES" in name
    } == allocator.GLIBC


def test_images_install_the_locks_and_nothing_that_the_locks_leave_out() -> None:
    found = [
        line
        for name in sorted(set(DOCKERFILES.values()))
        for line in (ROOT / name).read_text("utf-8").splitlines()
        if "--require-hashes" in line
    ]
    assert len(found) == 3
    # pip would add what a package names and the lock leaves out (OpenVINO's telemetry), and fail for want of its hash.
    assert all("--no-deps" in line for line in found), found


def test_backups_are_scheduled_by_who_asks_for_them_with_keys_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"MURMUR_BACKUP__URL": "s3://copies/here", "MURMUR_BACKUP__KEEP": "3", "MURMUR_BLOBS__URL": "s3://blobs"}
    keys = {"AWS_ACCESS_KEY_ID": "recordings", "MURMUR_BACKUP_ACCESS_KEY_ID": "copies"}
    backup = stack(environment=asked | keys)["services"]["backup"]
    assert backup["profiles"] == ["backup"]
    assert backup["command"] == ["murmur", "backup", "schedule"]
    assert backup["image"] == SERVICES["api"]["image"]
    assert backup["environment"]["AWS_ACCESS_KEY_ID"] == "copies"
    told = settings_of(backup, monkeypatch)
    assert (str(told.backup_dir), told.backup.keep, told.backup.url) == ("/backups", 3, "s3://copies/here")
    assert told.backup.every_s == 86_400
    assert told.blobs.url == "s3://blobs"
    assert re.search(r"install -d -o murmur .*-m 700 /backups", (ROOT / "Dockerfile.api").read_text("utf-8"))
