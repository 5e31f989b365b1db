"""What clients meet at a cluster's edge: the controller's own counters, under the names that alerts know."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.kubernetes.charts import Document, answers, documents
from tests.kubernetes.test_scaler import STEP_S, asked

RULES: Document = {"monitoring": {"rules": {"enabled": True}}}
INGRESS: Document = RULES | {"edge": {"host": "a.example.org", "ingress": {"enabled": True}}}
ROUTE: Document = RULES | {
    "edge": {"host": "a.example.org", "gateway": {"enabled": True, "parentRefs": [{"name": "public"}]}},
    "network": {"edgeNamespaces": ["envoy-gateway-system"]},
}
OWN = {"requests": 'label_replace(envoy_requests_total{route="murmuration"}, "status", "$1", "code", "(.*)")'}
OF_THE_EDGE = {"EdgeErrors", "AvailabilityBurnsFast", "AvailabilityBurnsSlowly"}


def rules(values: Document) -> list[Document]:
    (answer,) = answers({"values": values})
    groups: list[Document] = documents(answer)["PrometheusRule", "murmuration"]["spec"]["groups"]
    return groups


def alerts(groups: list[Document]) -> set[str]:
    return {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}


def test_no_alert_waits_for_figures_that_a_cluster_has_not() -> None:
    assert not alerts(rules(ROUTE)) & OF_THE_EDGE
    assert alerts(rules(INGRESS)) - alerts(rules(ROUTE)) == OF_THE_EDGE
    assert alerts(rules(MEASURED)) == alerts(rules(INGRESS))
    for values in (INGRESS, ROUTE, MEASURED):
        there = {rule["record"] for group in rules(values) for rule in group["rules"] if "record" in rule}
        wanted = {
            name
            for group in rules(values)
            for rule in group["rules"]
            if "alert" in rule
            for name in re.findall(r"\b(?:murmur_edge|nginx)_\w+", rule["expr"])
        }
        assert wanted <= there


CONTROLLER = 'nginx_ingress_controller_requests{{{{ingress="murmuration-api",{}="murmuration",status="{{}}"}}}}'
MEASURED: Document = {**ROUTE, "monitoring": {"rules": {"enabled": True}, "edge": OWN}}


@pytest.mark.parametrize(
    ("values", "series"),
    [
        (INGRESS, CONTROLLER.format("exported_namespace")),
        (INGRESS, CONTROLLER.format("namespace")),
        (MEASURED, 'envoy_requests_total{{route="murmuration",code="{}"}}'),
    ],
)
def test_errors_that_clients_meet_at_the_controller_raise_the_alert(
    values: Document, series: str, tmp_path: Path
) -> None:
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": rules(values)}), "utf-8")
    others = 'nginx_ingress_controller_requests{ingress="other",exported_namespace="murmuration",status="200"}'

    def run(good: int, bad: int, fires: bool) -> dict[str, Any]:
        given = [(series.format(200), good), (series.format(503), bad), (others, 1000)]
        return {
            "interval": f"{STEP_S}s",
            "input_series": [{"series": name, "values": f"0+{rise}x60"} for name, rise in given],
            "promql_expr_test": [
                {
                    "expr": 'count(ALERTS{alertname="EdgeErrors",alertstate="firing"})',
                    "eval_time": "15m",
                    "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
                }
            ],
        }

    assert "SUCCESS" in asked(tmp_path, [run(90, 10, fires=True), run(99, 1, fires=False)], file)


def test_latency_at_the_controller_is_on_the_panel_of_the_edge() -> None:
    records = {rule["record"] for group in rules(INGRESS) for rule in group["rules"] if "record" in rule}
    board = (Path(__file__).parents[2] / "monitoring/grafana/dashboards/service.json").read_text("utf-8")
    assert len(records) == 2
    for record in records:
        assert record in board
