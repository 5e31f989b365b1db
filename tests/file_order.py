"""The order of the files: those that take long first, so that no process still has one when the others are done."""

from pathlib import Path

import pytest

FIRST = ("chaos", "browser", "contract", "e2e", "monitoring", "recordings", "integration")
"""Folders whose tests wait for processes, or compute; what isn't named here is done in a moment."""


# After pytest-randomly, whose order stays within each group; `--no-loadscope-reorder` has xdist keep to it.
@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the files by the time that their folders take."""
    items.sort(key=lambda item: _place(item.path))


def _place(file: Path) -> int:
    folder = file.relative_to(Path(__file__).parent).parts[0]
    return FIRST.index(folder) if folder in FIRST else len(FIRST)
