"""The tree of folders: a room holds few files, or says why it holds many."""

from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST = 15
SIZES = Counter(
    path.parent for room in ("transcription", "api", "worker", "murmur", "demo") for path in (ROOT / room).rglob("*.py")
)


@pytest.mark.parametrize(
    "folder", [folder for folder, size in SIZES.items() if size > MOST], ids=lambda path: path.name
)
def test_a_folder_of_many_files_says_why(folder: Path) -> None:
    page = folder / "README.md"
    assert page.is_file(), f"{folder.relative_to(ROOT)} has {SIZES[folder]} files and no README.md that says why"
    assert "more than fifteen lie here" in " ".join(page.read_text("utf-8").split())
