"""
Clients meet no failure while the stack is upgraded and scaled, and few when something dies; no job is ever lost.

`make test-operations` runs it and prints the table of docs/deployment.md; OPERATIONS_RUNS=5 repeats each scenario.
"""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.compose.load import Load
from tests.compose.scenarios import AFTER_S, SCENARIOS, Scenario
from tests.compose.stack import Stack
from tests.compose.table import Run, append, table
from tests.platform import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]

RUNS = int(os.environ.get("OPERATIONS_RUNS", "1"))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where runs are noted; the table of all is printed at the end."""
    path = Path(os.environ.get("OPERATIONS_RESULTS") or tmp_path_factory.mktemp("operations") / "runs.jsonl")
    yield path
    if path.exists():
        print("\n\n" + table(path.read_text("utf-8").splitlines()))


@pytest.fixture
def prepared(stack: Stack, scenario: Scenario) -> Iterator[Stack]:
    """The stack with as many replicas as the scenario wants; afterwards as it was."""
    api, worker = scenario.replicas
    with stack.told(MURMUR_API_REPLICAS=str(api), MURMUR_WORKER_REPLICAS=str(worker)):
        whole(stack, api, worker)
        if scenario.name.startswith("scale down"):
            stack.environment |= {"MURMUR_API_REPLICAS": "2", "MURMUR_WORKER_REPLICAS": "1"}
        yield stack


def whole(stack: Stack, api: int, worker: int) -> None:
    """Bring all of it up, and wait until so many serve."""
    stack.compose("up", "-d", "--no-build", timeout_s=300)
    eventually(stack.settled, within_s=120, every_s=0.5)
    eventually(lambda: stack.workers() == worker, within_s=120, every_s=0.5)
    eventually(lambda: stack.healthy("api") == api, within_s=120, every_s=0.5)


def assert_served(stack: Stack, scenario: Scenario, run: int, results: Path) -> None:
    """Do what the scenario does under load, write down what clients met, and hold that to what it may cost."""
    with ExitStack() as after:
        with Load(stack.url) as load:
            scenario.do(stack, after)
            ended = time.monotonic()
            eventually(lambda: time.monotonic() - ended > AFTER_S, within_s=AFTER_S + 5)
            if len(load.answers) < scenario.requests:
                load.goes_on(scenario.requests - len(load.answers))
        lost = load.lost()
        found = Run.of(scenario.name, load.answers, jobs=len(load.accepted), lost=len(lost), resumed=load.resumed)
    append(results, found)
    failed = [answer for answer in load.answers if not answer.ok]
    print(run, found, *failed[:10], sep="\n")
    assert lost == []
    assert load.events_doubled == 0
    assert scenario.may_fail is None or found.failed <= scenario.may_fail, failed[:10]


@pytest.mark.parametrize("run", range(RUNS))
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_clients_get_their_answers_while_it_is_done_and_no_job_is_lost(
    prepared: Stack, scenario: Scenario, run: int, results: Path
) -> None:
    assert_served(prepared, scenario, run, results)
