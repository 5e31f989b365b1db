"""The alert rules as they ship: each fires at its fault, is silent otherwise, and has its section in the runbook."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring.server import needs
from transcription.errors import Fault, leaves

ROOT = Path(__file__).parents[2]
RULES = ROOT / "monitoring" / "prometheus" / "rules" / "murmuration.yml"
CASES = [Path(__file__).parent / name for name in ("alerts.yml", "alerts_over_hours.yml")]
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def section(heading: str) -> str:
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    assert found, f"docs/runbook.md has no section {heading}"
    return found[1]


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_every_alert_fires_at_its_fault_and_is_silent_otherwise(tmp_path: Path, file: Path) -> None:
    cases = tmp_path / "cases.yml"
    cases.write_text(file.read_text(encoding="utf-8").replace("RULES", str(RULES)), encoding="utf-8")
    ran = subprocess.run([needs("promtool"), "test", "rules", cases], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_alerts_wake_people_as_soon_and_as_loudly_as_the_runbook_was_written_for() -> None:
    told = {rule["alert"]: (rule.get("for", "0s"), rule["labels"]["severity"]) for rule in alerts()}
    assert told == {
        "ApiDown": ("1m", "page"),
        "LedgerDown": ("30s", "page"),
        "NoWorkers": ("1m", "page"),
        "NoSuitableWorker": ("2m", "page"),
        "WorkerQuarantined": ("2m", "ticket"),
        "WorkersDie": ("0s", "ticket"),
        "HttpErrors": ("2m", "page"),
        "ApiReplicaGone": ("5m", "ticket"),
        "WorkerGone": ("5m", "ticket"),
        "CrashLoop": ("0s", "ticket"),
        "Watchdog": ("0s", "none"),
        "EdgeDown": ("1m", "page"),
        "EdgeUnmeasured": ("5m", "ticket"),
        "EdgeErrors": ("1m", "page"),
        "UpstreamFails": ("5m", "ticket"),
        "AvailabilityBurnsFast": ("0s", "page"),
        "AvailabilityBurnsSlowly": ("0s", "ticket"),
        "QueueOld": ("2m", "page"),
        "BacklogGrowing": ("10m", "ticket"),
        "ObjectiveBurnsFast": ("0s", "page"),
        "ObjectiveBurnsSlowly": ("0s", "ticket"),
        "Failures": ("2m", "page"),
        "DeadLetters": ("1m", "ticket"),
        "WebhooksOverdue": ("5m", "page"),
        "WebhooksUndelivered": ("0s", "ticket"),
        "RedisMemory": ("5m", "page"),
        "RedisNotDurable": ("1m", "page"),
        "RedisEvicts": ("1m", "page"),
        "DiskLow": ("5m", "page"),
        "MemoryPressure": ("5m", "page"),
        "BackupOld": ("1h", "ticket"),
    }


def test_thresholds_are_those_of_the_objective_and_of_the_runbook() -> None:
    """What promtool's cases don't come close to: every number and every label that a rule compares with."""
    numbers = {rule["alert"]: re.findall(r"(?<![\w\[.])\d+(?:\.\d+)?(?![\w\].])", rule["expr"]) for rule in alerts()}
    assert numbers["ApiDown"] == ["1"]
    assert numbers["WorkersDie"] == ["3"]
    assert numbers["HttpErrors"] == ["0.05"]
    assert numbers["ApiReplicaGone"] == numbers["WorkerGone"] == ["1", "0", "0", "0", "0"]
    assert numbers["CrashLoop"] == ["2", "3", "0"]
    assert numbers["EdgeErrors"] == ["0.05"]
    assert numbers["UpstreamFails"][0] == "0.1"
    assert numbers["AvailabilityBurnsFast"] == ["14.4", "0.001"] * 2
    assert numbers["AvailabilityBurnsSlowly"] == ["6", "0.001"] * 2
    assert numbers["WebhooksOverdue"] == ["0"]
    assert numbers["WebhooksUndelivered"] == ["0", "0.5", "10"]
    assert numbers["QueueOld"] == ["60"]
    assert numbers["BacklogGrowing"] == ["0", "0.001", "1800"]
    assert numbers["ObjectiveBurnsFast"] == ["1", "60.0", "14.4", "0.01"] * 2
    assert numbers["ObjectiveBurnsSlowly"] == ["1", "60.0", "6", "0.01"] * 2
    assert numbers["Failures"] == ["0.05", "2"]
    assert numbers["RedisMemory"] == ["0", "0.85"]
    assert numbers["DiskLow"] == ["0.10"]
    assert numbers["MemoryPressure"] == ["0.90"]
    assert numbers["BackupOld"] == ["2", "0"]
    windows = {rule["alert"]: re.findall(r"\[(\w+(?::\w+)?)\]", rule["expr"]) for rule in alerts()}
    assert windows["WorkersDie"] == ["15m"]
    assert windows["HttpErrors"] == ["5m", "5m"]
    assert windows["CrashLoop"] == ["15m"] * 3
    assert windows["EdgeErrors"] == ["5m"] * 2
    assert windows["AvailabilityBurnsFast"] == ["1h", "1h", "5m", "5m"]
    assert windows["AvailabilityBurnsSlowly"] == ["6h", "6h", "30m", "30m"]
    assert windows["WebhooksUndelivered"] == ["1h", "30m", "30m", "30m"]
    assert windows["BacklogGrowing"] == ["15m:1m"]
    assert windows["ObjectiveBurnsFast"] == ["1h", "1h", "5m", "5m"]
    assert windows["ObjectiveBurnsSlowly"] == ["6h", "6h", "30m", "30m"]
    assert windows["Failures"] == ["15m"] * 3


def test_no_alert_is_without_a_fault_that_makes_it_fire() -> None:
    fired = set()
    for case in (case for file in CASES for case in yaml.safe_load(file.read_text(encoding="utf-8"))["tests"]):
        for check in case["promql_expr_test"]:
            fired |= {re.search(r'alertname="(\w+)"', sample["labels"])[1] for sample in check["exp_samples"]}  # type: ignore[index]
    assert fired == {rule["alert"] for rule in alerts()}


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_every_alert_has_a_section_with_three_commands_and_a_way_to_mend_it(rule: dict[str, Any]) -> None:
    assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"
    text = section(rule["alert"])
    assert text.strip().startswith(f"*{rule['labels']['severity']}.*")
    commands = re.search(r"```sh\n(.*?)```", text, re.DOTALL)
    assert commands
    assert len(commands[1].strip().splitlines()) == 3
    assert re.search(r"^- ", text.split("```")[-1], re.MULTILINE)


def test_every_section_is_an_alerts() -> None:
    assert re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE) == [rule["alert"] for rule in alerts()]


def test_shell_of_the_runbook_can_be_parsed(tmp_path: Path) -> None:
    script = tmp_path / "runbook.sh"
    script.write_text("\n".join(re.findall(r"```sh\n(.*?)```", RUNBOOK, re.DOTALL)), encoding="utf-8")
    bash = shutil.which("bash")
    assert bash
    checked = subprocess.run([bash, "-n", script], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_failures_leave_out_what_a_worker_finds_wrong_with_what_was_sent() -> None:
    rule = next(rule for rule in alerts() if rule["alert"] == "Failures")
    excluded = re.search(r'code!~"([^"]+)"', rule["expr"])
    assert excluded
    clients = {leaf.__name__: leaf.code for leaf in leaves() if leaf.fault is Fault.INPUT}
    sources = [path for part in ("worker", "transcription/media") for path in (ROOT / part).rglob("*.py")]
    words = {word for path in sources for word in re.findall(r"\w+", path.read_text(encoding="utf-8"))}
    found = {code for name, code in clients.items() if name in words}
    assert {"corrupt_audio", "invalid_option", "reference_without_speech"} <= found
    assert found <= set(excluded[1].split("|")) <= set(clients.values())
