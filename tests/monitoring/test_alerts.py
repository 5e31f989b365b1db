"""The alert rules as they ship: each fires at its fault, is silent otherwise, and has its section in the runbook."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.monitoring.server import needs
from transcription.errors import InvalidAudio, leaves

ROOT = Path(__file__).parents[2]
RULES = ROOT / "monitoring" / "prometheus" / "rules" / "murmuration.yml"
CASES = Path(__file__).parent / "alerts.yml"
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def section(heading: str) -> str:
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    assert found, f"docs/runbook.md has no section {heading}"
    return found[1]


def test_every_alert_fires_at_its_fault_and_is_silent_otherwise(tmp_path: Path) -> None:
    cases = tmp_path / "cases.yml"
    cases.write_text(CASES.read_text(encoding="utf-8").replace("RULES", str(RULES)), encoding="utf-8")
    ran = subprocess.run([needs("promtool"), "test", "rules", cases], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_no_alert_is_without_a_fault_that_makes_it_fire() -> None:
    fired = set()
    for case in yaml.safe_load(CASES.read_text(encoding="utf-8"))["tests"]:
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


def test_failures_that_are_the_audios_own_are_codes_of_the_error_tree() -> None:
    rule = next(rule for rule in alerts() if rule["alert"] == "Failures")
    excluded = re.search(r'code!~"([^"]+)"', rule["expr"])
    assert excluded
    assert set(excluded[1].split("|")) <= {leaf.code for leaf in leaves(InvalidAudio)}
