"""The table: `python -m bench.engines.gpu.table`, made of whatever was kept until now. It imports next to nothing."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bench.engines.gpu.record import OUT, kept

COLUMNS = {
    "row": "label", "size": "size", "slots": "batch", "clients": "at_once", "windows/s": "win_s",
    "GPU busy": "gpu_busy", "GPU waits": "gpu_waits", "GiB": "gib", "cores": "cores",
    "CPU s a window": "cpu_s_window", "median s": "median_s", "words wrong": "wrong",
}  # fmt: skip
Row = dict[str, Any]


def lines(rows: Iterable[Row]) -> Iterator[str]:
    """The table's lines: what was measured, what was only begun, what failed, and how card and CPU compare."""
    rows = list(rows)
    whole = {_which(row) for row in rows if row["what"] == "measured"}
    failed = {_which(row) for row in rows if row["what"] == "failed"}
    begun = {_which(row): row for row in rows if row["what"] == "partial"}  # the last of each
    yield f"| {' | '.join(COLUMNS)} |"
    yield "|" + "---|" * len(COLUMNS)
    for row in rows:
        if row["what"] == "measured":
            yield _line(row)
    for which, row in begun.items():
        if which not in whole and row.get("clips"):
            why = "failed" if which in failed else "broken off"
            yield _line({**row, "label": f"{row['label']} ({why} after {row['clips']} clips)"})
    for row in rows:
        if row["what"] == "failed":
            yield f"\n{row.get('label')} ({row.get('size') or '–'}) failed: {row.get('error')}"
        elif row["what"] == "check":
            yield f"\n{row['label']}: the CPU's tokens in {row['same']}, words' starts differ by {row['words_off_s']} s"
        elif row["what"] == "bare loop" and "error" not in row:
            yield (
                f"\nbare loop, {row['batch']} windows × {row['beams']} beams: {row['win_s']} windows/s,"
                f" {row['ms_step']} ms a step"
            )


def _which(row: Row) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in ("label", "size", "engine", "batch", "at_once"))


def _line(row: Row) -> str:
    values = (row.get(name) for name in COLUMNS.values())
    return f"| {' | '.join('' if value is None else str(value) for value in values)} |"


def main(directory: Path = OUT) -> None:
    """Print it."""
    for line in lines(kept(directory)):
        print(line)


if __name__ == "__main__":
    main()
