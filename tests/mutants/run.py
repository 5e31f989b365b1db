"""
Puts faults into copies of the tree, one at a time, and looks whether the tests named for each of them fail.

    python -m tests.mutants.run [--jobs 2] [--only TEXT] [--area lua] [--part 3/8] [--list]

The lists are the TOML files beside this one; README.md says how they are written. Exit status 1 when a fault went
unnoticed that isn't argued, when a text isn't found any more, or when fewer than the floor were noticed.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).parents[2]
LISTS = Path(__file__).parent
FLOOR = 0.95
TELLING = 3
LONGEST_S = 240
NOTICED, SURVIVED, ARGUED, BROKEN = "noticed", "SURVIVED", "argued", "BROKEN"
# What pytest's exit status says of itself and not of the tests: an internal error, wrong usage, no tests; or no pytest.
# All others but 0 are a failure: of a test, of an import, or of the whole process.
OWN = {3, 4, 5, 99}


@dataclass(frozen=True, slots=True)
class Mutant:
    """
    One fault: in *file*, *old* becomes *new*, and a user would feel *fault*; one of *tests* must fail.

    Its tests are skipped without the package *needs*.
    """

    area: str
    file: str
    fault: str
    old: str
    new: str
    tests: tuple[str, ...]
    argued: str
    needs: str = ""

    @property
    def name(self) -> str:
        """What reports call it."""
        return f"{self.area}: {self.file}: {self.fault}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a mutant, and the last words of what was run."""

    mutant: Mutant
    kind: str
    said: str
    seconds: float


def listed(folder: Path = LISTS) -> Iterator[Mutant]:
    """Every mutant of the lists; an area is a file's name."""
    for path in sorted(folder.glob("*.toml")):
        for source in tomllib.loads(path.read_text("utf-8"))["source"]:
            for row in source["mutants"]:
                yield Mutant(
                    area=path.stem,
                    file=source["file"],
                    fault=row["fault"],
                    old=row["old"],
                    new=row["new"],
                    tests=tuple(row.get("tests") or source.get("tests") or ()),
                    argued=row.get("argued", ""),
                    needs=source.get("needs", ""),
                )


def unfit(mutant: Mutant, root: Path = ROOT) -> str:
    """Why a mutant can't be put in, such as that its text is gone; empty when it can."""
    path = root / mutant.file
    if not path.is_file():
        return "the file isn't there"
    found = path.read_text("utf-8").count(mutant.old)
    if found != 1:
        return f"its text stands in the file {found} times"
    if mutant.old == mutant.new:
        return "it changes nothing"
    gone = [test for test in mutant.tests if not (root / test.partition("::")[0]).exists()]
    if gone:
        return f"no such test: {gone[0]}"
    return "" if mutant.tests or mutant.argued else "it names no test"


def copied(target: Path) -> None:
    """Copy the tree as it stands, tracked or not, without what git ignores."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, names):
        if (ROOT / name).is_file() or (ROOT / name).is_symlink():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name, follow_symlinks=False)


@contextmanager
def copies(count: int) -> Iterator["SimpleQueue[Runner]"]:
    """Runners in so many copies of the tree."""
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        runners: list[Runner] = []
        free: SimpleQueue[Runner] = SimpleQueue()
        for number in range(count):
            copy = Path(folder) / str(number)
            copied(copy)
            runners.append(Runner(copy))
            free.put(runners[-1])
        try:
            yield free
        finally:
            for runner in runners:
                runner.close()


class Runner:
    """Runs tests in a copy: a process there has the libraries imported already, and forks for each run."""

    def __init__(self, copy: Path) -> None:
        self.copy = copy
        self._telling: dict[str, list[str]] = defaultdict(list)
        environment = {
            **os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "TEST_LEDGERS": "valkey",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "TMPDIR": str(copy.parent),
        }  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.mutants.forking"],
            cwd=copy, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def first(self, file: str) -> tuple[str, ...]:
        """The tests that noticed the last faults in *file*: the likeliest to notice the next one."""
        return tuple(self._telling[file][-TELLING:])

    def noticed(self, file: str, said: str) -> None:
        """Remember which test failed."""
        for test in re.findall(r"FAILED ([^\s\[]+)", said)[:1]:
            known = self._telling[file]
            known[:] = [*(one for one in known if one != test), test]

    def run(self, tests: tuple[str, ...]) -> tuple[int, str]:
        """Run *tests*; pytest's exit status, and what it said last. Too long a run counts as failed."""
        assert self._process.stdin
        assert self._process.stdout
        print(json.dumps({"tests": tests, "seconds": LONGEST_S}), file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline())
        said = answer["said"]
        ends = [line for line in said.splitlines() if line.startswith(("FAILED", "ERROR"))] or said.splitlines()[-3:]
        return answer["status"], " | ".join(ends)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(30)


def judge(mutant: Mutant, runner: Runner) -> Outcome:
    """Put the fault into the copy of *runner*, ask its tests, and take it out again."""
    why = unfit(mutant, runner.copy)
    if why:
        return Outcome(mutant, BROKEN, why, 0.0)
    if mutant.argued:
        return Outcome(mutant, ARGUED, mutant.argued, 0.0)
    path = runner.copy / mutant.file
    whole = path.read_text("utf-8")
    began = time.monotonic()
    try:
        path.write_text(whole.replace(mutant.old, mutant.new), "utf-8")
        status, said = runner.run((*runner.first(mutant.file), *mutant.tests))
    finally:
        path.write_text(whole, "utf-8")
    runner.noticed(mutant.file, said)
    kind = BROKEN if status in OWN else NOTICED if status else SURVIVED
    if not status and " passed" not in said:
        kind, said = BROKEN, f"no test looked: {said}"
    return Outcome(mutant, kind, said, time.monotonic() - began)


def sound(mutants: list[Mutant], runner: Runner) -> str:
    """Why the tests say nothing about faults: one of them fails without any; empty when all pass."""
    tests = tuple(dict.fromkeys(test for mutant in mutants if not mutant.argued for test in mutant.tests))
    status, said = runner.run(tests) if tests else (0, "")
    return said if status else ""


def table(outcomes: list[Outcome]) -> str:
    """Areas, and what became of their mutants, as Markdown."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for outcome in outcomes:
        counts[outcome.mutant.area][outcome.kind] += 1
        counts["all"][outcome.kind] += 1
    head = ["| area | made | noticed | argued | unnoticed | broken |", "|---|---|---|---|---|---|"]
    rows = [
        f"| {area} | {sum(of.values())} | {of[NOTICED]} | {of[ARGUED]} | {of[SURVIVED]} | {of[BROKEN]} |"
        for area, of in counts.items()
    ]
    return "\n".join([*head, *rows])


def main(argv: list[str] | None = None) -> int:
    """Run the lists and print what became of each fault; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="mutants at the same time")
    parser.add_argument("--area", default="", help="one list only")
    parser.add_argument("--only", default="", help="mutants whose name has this text")
    parser.add_argument("--part", default="1/1", help="of those, one of so many equal parts, as 3/8")
    parser.add_argument("--list", action="store_true", help="look only whether every text is still found")
    parser.add_argument("--no-baseline", action="store_true", help="don't ask the tests first without any fault")
    told = parser.parse_args(argv)
    mutants = [one for one in listed() if told.area in ("", one.area) and told.only in one.name]
    number, parts = map(int, told.part.split("/"))
    mutants = mutants[len(mutants) * (number - 1) // parts : len(mutants) * number // parts]
    if told.list:
        bad = [f"{one.name}: {why}" for one in mutants if (why := unfit(one))]
        print("\n".join([*bad, f"{len(mutants)} mutants, {len(bad)} of them broken"]))
        return int(bool(bad))
    absent = [one for one in mutants if one.needs and not find_spec(one.needs)]
    if absent:
        print(f"{len(absent)} are left out: {', '.join(sorted({one.needs for one in absent}))} isn't installed")
        mutants = [one for one in mutants if one not in absent]
    with copies(told.jobs) as free, ThreadPoolExecutor(told.jobs) as pool:
        if not told.no_baseline:
            runner = free.get()
            if wrong := sound(mutants, runner):
                print(f"the tests fail without any fault: {wrong}")
                return 1
            free.put(runner)

        def one(mutant: Mutant) -> Outcome:
            runner = free.get()
            try:
                outcome = judge(mutant, runner)
            finally:
                free.put(runner)
            said = "" if outcome.kind == NOTICED else f": {outcome.said}"
            print(f"{outcome.kind:<9} {outcome.seconds:5.1f} s  {mutant.name}{said}", flush=True)
            return outcome

        outcomes = list(pool.map(one, mutants))
    print("\n" + table(outcomes))
    noticed = sum(one.kind == NOTICED for one in outcomes)
    bad = [one for one in outcomes if one.kind in (SURVIVED, BROKEN)]
    share = noticed / max(1, noticed + len(bad))
    print(f"{share:.1%} of those that aren't argued were noticed; the floor is {FLOOR:.0%}")
    return int(bool(bad) or share < FLOOR)


if __name__ == "__main__":
    sys.exit(main())
