"""
Lets mutmut change the pure domain in a copy of the tree, and prints the share of its changes that tests noticed.

    python -m tests.mutants.domain [FILE…]      # by default every file of PURE

mutmut is installed by `make mutants-domain`. Its survivors are listed; many of them are no faults (a message's words, a
default that nobody relies on), which is why the floor isn't 100 %. Exit status 1 below it, if all files were asked for.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.mutants.run import copied

PURE = {
    "transcription/formats.py": ["tests/unit/test_formats.py"],
    "transcription/job.py": ["tests/unit/test_job_values.py"],
    "transcription/lanes.py": ["tests/unit/test_lanes.py"],
    "transcription/retry.py": ["tests/unit/test_retry.py", "tests/unit/test_errors.py"],
    "transcription/spans.py": ["tests/unit/test_spans.py"],
    "transcription/transcript.py": ["tests/unit/test_transcript_values.py", "tests/unit/test_formats.py"],
    "transcription/webhook.py": ["tests/unit/test_webhook.py"],
}
FLOOR = 0.95
CONFIG = """
[tool.mutmut]
source_paths = ["transcription"]
only_mutate = {files}
also_copy = ["demo", "api", "worker", "murmur"]
pytest_add_cli_args = ["-p", "pytest_timeout", "-q"]
pytest_add_cli_args_test_selection = {tests}
mutate_only_covered_lines = true
"""
KILLED = {"killed", "timeout", "segfault", "caught by type check"}


def main(argv: list[str] | None = None) -> int:
    """Run mutmut and print what became of its changes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", default=list(PURE), help="which of the pure files")
    files: list[str] = parser.parse_args(argv).files
    tests = list(dict.fromkeys(test for file in files for test in PURE[file]))
    with tempfile.TemporaryDirectory(prefix="mutmut-") as folder:
        copy = Path(folder)
        copied(copy)
        with (copy / "pyproject.toml").open("a", encoding="utf-8") as config:
            config.write(CONFIG.format(files=files, tests=tests))
        environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": ""}
        mutmut = [sys.executable, "-m", "mutmut"]
        ran = subprocess.run([*mutmut, "run"], cwd=copy, env=environment, capture_output=True, text=True, check=False)
        found = subprocess.run(
            [*mutmut, "results", "--all", "true"],
            cwd=copy, env=environment, capture_output=True, text=True, check=False,
        ).stdout  # fmt: skip
    results = re.findall(r"^\s*(\S+__mutmut_\d+): (.+)$", found, re.MULTILINE)
    if not results:
        print(f"mutmut found nothing to say:\n{ran.stdout[-3000:]}{ran.stderr[-3000:]}")
        return 1
    by_file: dict[str, Counter[str]] = {}
    for name, became in results:
        by_file.setdefault(name.partition(".x")[0], Counter())[became] += 1
        if became not in KILLED:
            print(f"{became:<10} {name}")
    print("\n| file | made | noticed | share |\n|---|---|---|---|")
    for file, counts in sorted(by_file.items()):
        made, noticed = sum(counts.values()), sum(counts[kind] for kind in KILLED)
        print(f"| {file} | {made} | {noticed} | {noticed / made:.0%} |")
    noticed = sum(became in KILLED for _, became in results)
    print(f"{noticed} of {len(results)} changes to the pure domain were noticed: {noticed / len(results):.1%}")
    return int(files == list(PURE) and noticed / len(results) < FLOOR)


if __name__ == "__main__":
    sys.exit(main())
