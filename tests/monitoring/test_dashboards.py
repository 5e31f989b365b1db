"""The dashboards: sound as files, and every panel's query answered by a real Prometheus after a real run."""

import json
import math
import os
import re
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from demo import SAMPLES
from murmur.client.client import Client
from murmur.client.errors import ApiError
from tests.edge import Edge, Names, edge, nginx_excused
from tests.edge_reader import edge_reader
from tests.free_port import free_port
from tests.monitoring.server import Prometheus, needs, prometheus
from tests.platform import TestPlatform, eventually, running_platform
from tests.unit.test_metrics_docs import OLD, documented
from transcription.settings import Lease, Worker

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "monitoring"
DASHBOARDS = sorted((MONITORING / "grafana" / "dashboards").glob("*.json"))
SCREEN = 24
"""Grid units: 24 columns across, and as many rows as a full-HD screen shows."""

HARDWARE = "murmur_worker_gpu_"


def panels(file: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["panels"]
    return found


def queries() -> list[tuple[str, str]]:
    return [
        (f"{file.stem}: {panel['title']} {target['refId']}", target["expr"])
        for file in DASHBOARDS
        for panel in panels(file)
        for target in panel["targets"]
    ]


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_a_dashboard_is_one_screen_of_panels_that_do_not_overlap(file: Path) -> None:
    board = json.loads(file.read_text(encoding="utf-8"))
    source = yaml.safe_load((MONITORING / "grafana/provisioning/datasources/prometheus.yml").read_text("utf-8"))
    assert board["uid"] == f"murmur-{file.stem}"
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        assert place["y"] + place["h"] <= SCREEN
        assert panel["title"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == source["datasources"][0]["uid"]
    for one, other in combinations((panel["gridPos"] for panel in board["panels"]), 2):
        assert (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )


def test_grafana_is_told_of_the_folder_and_its_first_page_is_there() -> None:
    (provider,) = yaml.safe_load((MONITORING / "grafana/provisioning/dashboards/murmuration.yml").read_text("utf-8"))[
        "providers"
    ]
    grafana = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]["grafana"]
    assert f"./monitoring/grafana/dashboards:{provider['options']['path']}:ro" in grafana["volumes"]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert home.name in {file.name for file in DASHBOARDS}
    assert str(home.parent) == provider["options"]["path"]


def scraping(platform: TestPlatform, edge_port: int) -> dict[str, Any]:
    """The configuration as it ships, with this platform's addresses instead of Docker's names."""
    config: dict[str, Any] = yaml.safe_load((MONITORING / "prometheus" / "prometheus.yml").read_text("utf-8"))
    api = f"127.0.0.1:{platform.layout.port}"
    addresses = {"api": api, "ledger": api, "edge": f"127.0.0.1:{edge_port}"}
    # The worker is one that Docker doesn't know: it is found as a Mac's is, by what it told the ledger.
    scrapes = [scrape for scrape in config["scrape_configs"] if scrape["job_name"] in (*addresses, "worker")]
    for scrape in scrapes:
        scrape.pop("dns_sd_configs", None)
        if scrape["job_name"] in addresses:
            scrape["static_configs"] = [{"targets": [addresses[scrape["job_name"]]]}]
        for found in scrape.get("http_sd_configs", ()):
            found |= {"url": found["url"].replace("api:8000", api), "refresh_interval": "1s"}
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(MONITORING / "prometheus" / "rules" / "*.yml")],
        "scrape_configs": scrapes,
    }


def work(client: Client, tmp_path: Path, **options: Any) -> None:
    """Everything that a panel tells of: each class of service, words, a language to tell, a cache's hit, a refusal."""
    short, german = SAMPLES["short"].path, SAMPLES["german"].path
    jobs = [
        client.submit(short, **options),
        client.submit(short, priority="batch", word_timestamps=True, **options),
        client.submit(german, **options),
    ]
    for job in jobs:
        client.wait(job.id, seconds=60)
    client.submit(short, **options)
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no sound at all")
    with pytest.raises(ApiError):
        client.submit(bad)


@contextmanager
def scraped(directory: Path, **settings: Any) -> Iterator[tuple[TestPlatform, Prometheus, Edge]]:
    """A platform behind nginx, and a Prometheus that sees all of it."""
    needs("prometheus")
    if nginx_excused():
        pytest.skip("no nginx here: apt install nginx-light")
    worker, run = Worker(metrics_port=free_port(), metrics_address="127.0.0.1"), directory / "edge"
    run.mkdir()
    with (
        running_platform(directory / "platform", worker=worker, **settings) as platform,
        Names() as names,
        edge(run, names=names, port=platform.layout.port) as at,
        edge_reader(at) as reader,
        prometheus(directory, scraping(platform, reader.port)) as server,
    ):
        names.addresses = ["127.0.0.1"]
        eventually(
            lambda: len(server.targets()) == 4 and set(server.targets().values()) == {"up"}, within_s=60, every_s=0.2
        )
        eventually(lambda: httpx.get(f"{at.url}/health/live").is_success)
        yield platform, server, at


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestPlatform, Prometheus]]:
    """A platform and a Prometheus that has scraped it before, between and after two rounds of work. Change nothing."""
    directory = tmp_path_factory.mktemp("metrics")
    with scraped(directory) as (platform, server, at), Client(at.url) as client:
        work(client, directory)
        eventually(lambda: server.query('murmur_worker_batches_total{stage="align"}'), within_s=30, every_s=0.2)
        eventually(lambda: server.query("murmur_rejects_total"), within_s=30, every_s=0.2)
        work(client, directory, temperature=0.2)
        yield platform, server


def test_looks_at_health_and_figures_are_no_requests_of_clients_in_any_panel() -> None:
    counted = [
        (where, chosen)
        for where, query in queries()
        for chosen in re.findall(r"murmur_http_requests_total(\S*)", query)
    ]
    assert len(counted) > 4
    assert [(where, chosen) for where, chosen in counted if 'route!~"/health.*|/metrics.*"' not in chosen] == []


def has_data(server: Prometheus, expression: str) -> bool:
    # As long as the whole run may have taken: a rate of a minute in which nothing happened is no number.
    samples = server.query(expression.replace("$__rate_interval", "10m"))
    return any(not math.isnan(float(sample["value"][1])) for sample in samples)


def test_every_panel_has_data_after_a_real_run(run: tuple[TestPlatform, Prometheus]) -> None:
    _, server = run
    # What counts failures by code shows those that there are.
    wanted = {where: query for where, query in queries() if HARDWARE not in query and not query.endswith("> 0)")}

    def silent() -> dict[str, str]:
        return {where: query for where, query in wanted.items() if not has_data(server, query)}

    eventually(lambda: not silent(), within_s=40, every_s=0.5)


def test_no_alert_fires_on_a_healthy_run_and_every_expression_is_valid(run: tuple[TestPlatform, Prometheus]) -> None:
    _, server = run
    assert [alert["metric"]["alertname"] for alert in server.query('ALERTS{alertstate="firing"}')] == ["Watchdog"]
    rules = yaml.safe_load((MONITORING / "prometheus/rules/murmuration.yml").read_text("utf-8"))
    for group in rules["groups"]:
        for rule in group["rules"]:
            server.query(rule["expr"])


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("sum(murmur_submits_total)", 8),
        ('sum(murmur_submits_total{outcome="cached"})', 2),
        ('murmur_recordings_submitted_total{outcome="cached"}', 2),
        ('murmur_computations_total{status="completed"}', 6),
        ('sum(murmur_worker_spans_total{outcome="finished"})', 6),
        ('murmur_transcript_duration_seconds_count{priority="batch"}', 2),
        ("round(sum(murmur_audio_seconds_total) - sum(murmur_worker_audio_seconds_total), 0.1)", 0),
        ("murmur_workers", 1),
        ("redis_aof_enabled + redis_aof_last_write_status", 2),
    ],
)
def test_figures_of_api_ledger_and_worker_tell_one_story(
    run: tuple[TestPlatform, Prometheus], expression: str, expected: float
) -> None:
    # Figures of the ledger may be a second old, and are scraped each second.
    eventually(lambda: run[1].value(expression) == expected, within_s=30, every_s=0.2)


def metric_names(url: str) -> tuple[str, set[str]]:
    """What *url* shows, without the old names, and the names in it as docs/metrics.md has them."""
    shown = httpx.get(url).raise_for_status().text
    current = "".join(
        line
        for line in shown.splitlines(keepends=True)
        if not OLD & set(re.findall(r"\bmurmur_\w+?(?=_bucket|_count|_sum|\b)", line))
    )
    kinds = re.findall(r"^# TYPE (\w+) (\w+)$", current, re.MULTILINE)
    return current, {name for name, _ in kinds}


@pytest.mark.parametrize(
    ("job", "path", "sections"),
    [
        ("api", "/metrics", ("An API process", "Every replica")),
        ("ledger", "/metrics/ledger", ("The ledger",)),
        ("worker", "/metrics", ("A worker", "Every replica")),
    ],
)
def test_what_runs_shows_what_the_docs_say_and_by_prometheus_conventions(
    run: tuple[TestPlatform, Prometheus], job: str, path: str, sections: tuple[str, ...]
) -> None:
    (target,) = run[1].query(f'up{{job="{job}"}}')
    url = f"http://{target['metric']['instance']}{path}"
    wanted = {name for section in sections for name in documented(section)}
    # A worker tells the speed that it has measured when it next says that it is there.
    eventually(lambda: metric_names(url)[1] >= wanted, within_s=90, every_s=0.2)
    shown, names = metric_names(url)
    assert names == wanted
    checked = subprocess.run(
        [needs("promtool"), "check", "metrics"], input=shown, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("part", ["api", "worker"])
def test_a_replica_has_one_name_in_prometheus_logs_and_flower(run: tuple[TestPlatform, Prometheus], part: str) -> None:
    platform, server = run
    (info,) = server.query(f'murmur_replica_info{{job="{part}"}}')
    said = [json.loads(line.split("| ", 1)[1]) for line in list(platform.lines) if "| {" in line]
    assert {line["replica"] for line in said if line["service"] == part} == {info["metric"]["replica"]}
    if part == "worker":  # Flower shows Celery's names, which the ledger has too
        with platform.client() as client:
            assert [worker["id"] for worker in client.workers()] == [info["metric"]["replica"]]


def test_log_lines_of_api_and_worker_join_by_request_and_computation(platform: TestPlatform) -> None:
    request_id = uuid.uuid4().hex
    with SAMPLES["short"].path.open("rb") as audio, platform.client() as client:
        answer = client._http.post(
            "/v1/jobs",
            files={"file": ("a.flac", audio)},
            data={"prompt": request_id},  # never asked before: no cache answers
            headers={"X-Request-ID": request_id},
        )
        job = client.wait(answer.json()["id"], seconds=60)

    def lines() -> list[dict[str, Any]]:
        written = [json.loads(line.split("| ", 1)[1]) for line in list(platform.lines) if "| {" in line]
        return [line for line in written if line.get("request_id") == request_id]

    finished = eventually(lambda: [line for line in lines() if line["event"] == "finished"])
    (request,) = eventually(lambda: [line for line in lines() if line["event"] == "request"])
    assert request["job_id"] == finished[0]["job_id"] == job.id
    twice = ('"celery.app.trace"', '"celery.worker.strategy"')
    assert not [line for line in list(platform.lines) if any(name in line for name in twice)]
    assert (request["service"], finished[0]["service"]) == ("api", "worker")
    assert request["computation"] == finished[0]["computation"]
    seed = {"request_id", "method", "path", "status", "processing_time_ms", "client_ip"}
    assert seed <= set(request)


def test_a_dead_worker_is_seen_and_its_alert_waits_for_a_minute(tmp_path: Path) -> None:
    with scraped(tmp_path, lease=Lease(ttl_s=3, renew_s=1)) as (platform, server, _):
        os.kill(platform.pids()["w1"], signal.SIGKILL)
        eventually(lambda: server.query("murmur_workers == 0"), within_s=60, every_s=0.2)
        eventually(lambda: server.query('ALERTS{alertname="NoWorkers",alertstate="pending"}'), within_s=20, every_s=0.2)
        eventually(lambda: "worker" not in server.targets(), within_s=20, every_s=0.2)
