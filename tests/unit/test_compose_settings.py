"""What the compose stack tells its services: settings, passwords, limits, who reads which variable, who is watched."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from tests.compose_files import ROOT, SERVICES, mounts, seconds, settings_of, stack
from transcription.ledger.broker import celery_app
from transcription.settings import Settings

PROMETHEUS = yaml.safe_load((ROOT / "monitoring" / "prometheus" / "prometheus.yml").read_text("utf-8"))
FIXED = {
    "MURMUR_DATA_DIR", "MURMUR_API__HOST", "MURMUR_API__PORT", "MURMUR_API__STOP_S", "MURMUR_WORKER__METRICS_PORT",
    "MURMUR_WORKER__HOST_WORKERS",
    "MURMUR_API__HOUSEKEEPING", "MURMUR_WORKER__WEBHOOKS", "MURMUR_SECURITY__TRUSTED_PROXIES", "MURMUR_BACKUP__DIR",
}  # fmt: skip
NOT_HERE = {
    "MURMUR_WORKER__MLX__MEMORY_BYTES", "MURMUR_WORKER__MLX__CACHE_BYTES", "MURMUR_WORKER__METRICS_ADDRESS",
}  # fmt: skip
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


def test_whatever_a_worker_would_fetch_is_fetched_before_it_starts() -> None:
    named = ("MURMUR_MODEL", "MURMUR_MODELS", "MURMUR_WORKER__ENGINE", "MURMUR_WORKER__DIARIZER", "HF_ENDPOINT")
    assert [name for name in named if not readers(name) >= {"worker", "models"}] == []


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


def test_no_setting_replaces_the_edge_but_where_it_is_published() -> None:
    script = (ROOT / "nginx" / "settings.sh").read_text("utf-8")
    told = SERVICES["edge-settings"]["environment"]
    assert set(re.findall(r"MURMUR_\w+", script)) == set(told)
    assert {frozenset(readers(name) & {"nginx", "edge-settings"}) for name in told} == {frozenset({"edge-settings"})}
    assert readers("MURMUR_HTTP_PORT") == readers("MURMUR_HTTP_ADDRESS") == {"nginx"}


def test_limits_of_the_edge_are_the_apis(monkeypatch: pytest.MonkeyPatch) -> None:
    edge, api = SERVICES["edge-settings"]["environment"], settings_of(SERVICES["api"], monkeypatch)
    assert int(edge["MURMUR_LIMITS__MAX_UPLOAD_BYTES"]) == api.limits.max_upload_bytes
    assert {name: edge[f"MURMUR_EDGE_{name}"] for name in ("REQUESTS_PER_S", "BURST", "CONNECTIONS")} == {
        "REQUESTS_PER_S": "100",
        "BURST": "200",
        "CONNECTIONS": "200",
    }
    larger = stack(environment={"MURMUR_LIMITS__MAX_UPLOAD_BYTES": "5000"})["services"]
    for name in ("edge-settings", "api"):
        assert larger[name]["environment"]["MURMUR_LIMITS__MAX_UPLOAD_BYTES"] == "5000"


def test_without_a_password_operators_pages_stay_closed_and_with_one_it_is_everywhere() -> None:
    assert SERVICES["edge-settings"]["environment"]["MURMUR_OPERATOR_PASSWORD"] == ""
    grafana = SERVICES["grafana"]["environment"]
    assert grafana["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert grafana["GF_AUTH_BASIC_ENABLED"] == "false"
    told = stack(environment={"MURMUR_OPERATOR_PASSWORD": "sesame"})["services"]
    assert told["edge-settings"]["environment"]["MURMUR_OPERATOR_PASSWORD"] == "sesame"
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
    if part in {"BLOBS", "ENCRYPTION", "MODEL", "MODELS", "NEEDS"} and name not in SECRETS:
        assert found >= {"api", "worker"}  # who don't agree on it don't understand each other
    if part == "ENCRYPTION":
        assert "backup" in found
    if part == "SECURITY" and "SANDBOX" not in name:
        assert found == {"api"}
    assert found <= {"api", "worker", "models", "backup", "edge-settings"}


def test_what_is_fixed_is_set_and_no_service_reads_all_of_the_operators_file() -> None:
    assert {name for name in FIXED if readers(name)} == set()
    told = {name for service in SERVICES.values() for name in service.get("environment", {})}
    assert told >= FIXED
    assert not any("env_file" in service for service in SERVICES.values())
    page = (ROOT / "docs" / "deployment.md").read_text("utf-8")
    assert set(re.findall(r"`(\w+)`", page.partition("Fixed\nin the stack are ")[2].partition(".")[0])) == FIXED


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


def test_how_many_run_is_a_setting_and_workers_are_told_among_how_many_they_divide_the_cores() -> None:
    assert (SERVICES["api"]["scale"], SERVICES["worker"]["scale"]) == ("2", "1")
    more = stack(environment={"MURMUR_API_REPLICAS": "4", "MURMUR_WORKER_REPLICAS": "3"})["services"]
    assert (more["api"]["scale"], more["worker"]["scale"]) == ("4", "3")
    assert more["worker"]["environment"]["MURMUR_WORKER__HOST_WORKERS"] == "3"
    assert more["api"]["environment"] == SERVICES["api"]["environment"]


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
        "edge": (None, [{"targets": ["edge-metrics:9113"]}]),
        "flower": ("/flower/metrics", [{"targets": ["flower:5555"]}]),
        "prometheus": (None, [{"targets": ["localhost:9090"]}]),
        "alertmanager": (None, [{"targets": ["alertmanager:9093"]}]),
    }
    for name in ("api", "worker", "edge-metrics", "flower", "alertmanager"):
        assert "monitoring" in SERVICES[name]["networks"]
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
    assert "--storage.tsdb.retention.time=30d" in SERVICES["prometheus"]["command"]
    routing = yaml.safe_load((ROOT / "monitoring" / "alertmanager" / "alertmanager.yml").read_text("utf-8"))
    assert routing["route"]["receiver"] in {receiver["name"] for receiver in routing["receivers"]}
    assert seconds(routing["route"]["group_wait"]) <= 60
    assert seconds(routing["route"]["repeat_interval"]) >= 3600


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
