"""The order of the files: those that take long first, so that no process still has one when the others are done."""

from pathlib import Path

import pytest

LONG = ("chaos", "browser", "contract", "e2e", "monitoring", "recordings")
"""Folders of long files. Some wait for processes and some compute: one in the company of the other wastes no core."""


# After pytest-randomly, whose order stays within each group; `--no-loadscope-reorder` has xdist keep to it.
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files, in the order that they have; then those of integration; then what is done in a moment."""
    items.sort(key=lambda item: _place(item.path))


def _place(file: Path) -> int:
    folder = file.relative_to(Path(__file__).parent).parts[0]
    return 0 if folder in LONG else 1 if folder == "integration" else 2
