"""What clients met while something was done to the stack, as rows of a table in docs/deployment.md."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.compose.load import Answer

SLOW = {"follow", "upload", "wait"}


@dataclass(frozen=True)
class Run:
    """One run of one scenario."""

    scenario: str
    requests: int
    failed: int
    seconds: int
    """Seconds of the clock in which something failed."""
    slowest_s: float
    jobs: int
    lost: int
    resumed: int
    how: dict[str, int]

    @classmethod
    def of(cls, scenario: str, answers: Sequence[Answer], *, jobs: int, lost: int, resumed: int) -> "Run":
        """Count the *answers*."""
        failed = [answer for answer in answers if not answer.ok]
        return cls(
            scenario,
            requests=len(answers),
            failed=len(failed),
            seconds=len({int(answer.at) for answer in failed}),
            # A stream and a wait are as long as their job takes, a slow upload as slow as its client.
            slowest_s=round(max(answer.took_s for answer in answers if answer.kind not in SLOW), 2),
            jobs=jobs,
            lost=lost,
            resumed=resumed,
            how=dict(Counter(f"{answer.kind} {answer.status}" for answer in failed)),
        )


def append(path: Path, run: Run) -> None:
    """Add a run to a file of them, a line each."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(run)) + "\n")


def table(lines: Iterable[str]) -> str:
    """Markdown: a row for each scenario, its runs one after the other."""
    runs: dict[str, list[Run]] = {}
    for line in lines:
        run = Run(**json.loads(line))
        runs.setdefault(run.scenario, []).append(run)
    rows = [
        "| what | runs | requests | failed, by run | seconds of errors | slowest | jobs | lost | streams resumed |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, of in runs.items():
        cells = [
            name,
            len(of),
            f"{sum(run.requests for run in of):,}",
            ", ".join(str(run.failed) for run in of),
            ", ".join(str(run.seconds) for run in of),
            f"{max(run.slowest_s for run in of):.1f} s",
            sum(run.jobs for run in of),
            sum(run.lost for run in of),
            sum(run.resumed for run in of),
        ]
        rows.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(rows)
