"""What the chart gives Prometheus and Grafana: the compose stack's alerts and dashboards, under the same jobs."""

import re
import shutil
from pathlib import Path
from typing import Any

import yaml

from tests.kubernetes.charts import CHART, MANIFESTS, OPERATED, ROOT, answers, documents, profiles


def inside(expression: str) -> bool:
    """Whether an alert asks for what a cluster has, whose edge nobody measures."""
    if re.search(r"\bnginx_|murmur_edge_", expression):
        return False
    known = yaml.safe_load((ROOT / "monitoring" / "prometheus" / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    ours = {job["job_name"] for job in known} & {"api", "ledger", "worker"}
    asked = [set(jobs.split("|")) for jobs in re.findall(r'job=~?"([^"]+)"', expression)]
    return all(jobs & ours for jobs in asked)


def test_alerts_and_dashboards_are_those_of_the_compose_stack_and_no_copies() -> None:
    files = CHART / "files"
    assert all(path.is_symlink() for path in files.iterdir())
    found = profiles()["operated"]
    told = found["PrometheusRule", "murmuration"]["spec"]["groups"]
    written = sorted((ROOT / "monitoring" / "prometheus" / "rules").glob("*.yml"))
    groups = [group for path in written for group in yaml.safe_load(path.read_text("utf-8"))["groups"]]
    ours = [group | {"rules": [rule for rule in group["rules"] if inside(rule["expr"])]} for group in groups]
    assert told == [group for group in ours if group["rules"]]
    shown = {
        name: text
        for document in found.values()
        if document["metadata"]["labels"].get("grafana_dashboard") == "1"
        for name, text in document["data"].items()
    }
    dashboards = sorted((ROOT / "monitoring" / "grafana" / "dashboards").glob("*.json"))
    assert {name: text.rstrip("\n") for name, text in shown.items()} == {
        f"murmuration-{path.name}": path.read_text("utf-8").rstrip("\n") for path in dashboards
    }


def test_an_alert_on_what_only_the_compose_stack_has_is_left_out(tmp_path: Path) -> None:
    """It would be missing for ever."""
    chart = tmp_path / "murmuration"
    shutil.copytree(CHART, chart)  # the links' files
    rules = chart / "files" / "rules" / "murmuration.yml"
    group = {"name": "edge", "rules": [{"alert": "EdgeDown", "expr": 'absent(up{job="edge"} == 1)'}]}
    rules.write_text(yaml.safe_dump({"groups": [*yaml.safe_load(rules.read_text("utf-8"))["groups"], group]}), "utf-8")
    (answer,) = answers({"values": OPERATED, "chart": str(chart)})
    found = documents(answer)["PrometheusRule", "murmuration"]["spec"]["groups"]
    assert found == profiles()["operated"]["PrometheusRule", "murmuration"]["spec"]["groups"]


def test_jobs_are_scraped_under_the_names_that_alerts_and_dashboards_know() -> None:
    found = profiles()["operated"]
    known = yaml.safe_load((ROOT / "monitoring" / "prometheus" / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    paths = {job["job_name"]: job.get("metrics_path", "/metrics") for job in known}
    ours = {"targetLabel": "namespace", "replacement": "murmuration"}
    outside = found["ScrapeConfig", "murmuration-worker-outside"]["spec"]
    (there,) = next(job for job in known if job["job_name"] == "worker")["http_sd_configs"]
    (here,) = outside["httpSDConfigs"]
    assert here["url"] == there["url"].replace("api:8000", "murmuration-api.murmuration.svc")
    assert outside["metricsPath"] == paths["worker"]
    assert outside["relabelings"] == [{"targetLabel": "job", "replacement": "worker"}, ours]
    ledger = found["ScrapeConfig", "murmuration-ledger"]["spec"]
    assert ledger["metricsPath"] == paths["ledger"]
    assert ledger["staticConfigs"] == [{"targets": ["murmuration-api.murmuration.svc:80"]}]
    assert ledger["relabelings"] == [{"targetLabel": "job", "replacement": "ledger"}, ours]
    for name in ("api", "worker"):
        spec = found["PodMonitor", f"murmuration-{name}"]["spec"]
        (endpoint,) = spec["podMetricsEndpoints"]
        assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": name}]
        deployment = found["Deployment", f"murmuration-{name}"]["spec"]["template"]
        assert spec["selector"]["matchLabels"].items() <= deployment["metadata"]["labels"].items()
        assert endpoint["port"] in [port["name"] for port in deployment["spec"]["containers"][0]["ports"]]


def test_a_prometheus_without_the_operator_is_told_the_same_jobs() -> None:
    jobs = {job["job_name"]: job for job in yaml.safe_load((MANIFESTS / "scrape.yml").read_text("utf-8"))}
    assert set(jobs) == {"api", "ledger", "worker"}
    ours = {"namespace": "murmuration"}  # the scaler asks for its own
    assert jobs["ledger"]["static_configs"] == [{"targets": ["murmuration-api.murmuration.svc:80"], "labels": ours}]
    (outside,) = jobs["worker"]["http_sd_configs"]
    assert outside["url"] == "http://murmuration-api.murmuration.svc/metrics/targets"
    for name, port in (("api", "http"), ("worker", "metrics")):
        rule, namespace = jobs[name]["relabel_configs"]
        assert namespace == {"target_label": "namespace", "replacement": "murmuration"}
        assert rule["action"] == "keep"
        assert [target for target in pod_targets() if kept(rule, pod_labels(*target))] == [(name, port)]
    assert kept(jobs["worker"]["relabel_configs"][0], {"__meta_url": outside["url"]})


def pod_targets() -> list[tuple[str, str]]:
    """What Prometheus finds of pods: each port of a component's containers, and each container without one."""
    found = yaml.safe_load_all((MANIFESTS / "base" / "murmuration.yaml").read_text("utf-8"))
    pods = [one["spec"]["template"] for one in found if one["kind"] in {"Deployment", "StatefulSet"}]
    assert any("initContainers" in pod["spec"] for pod in pods)
    return [
        (pod["metadata"]["labels"]["app.kubernetes.io/component"], port["name"])
        for pod in pods
        for container in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"])
        for port in container.get("ports", [{"name": ""}])
    ]


def pod_labels(component: str, port: str) -> dict[str, str]:
    return {
        "__meta_kubernetes_pod_label_app_kubernetes_io_component": component,
        "__meta_kubernetes_pod_container_port_name": port,
    }


def kept(rule: dict[str, Any], labels: dict[str, str]) -> bool:
    return re.fullmatch(rule["regex"], ";".join(labels.get(name, "") for name in rule["source_labels"])) is not None
