"""The tree of folders: a room holds few files, or says why it holds many."""

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST = 15
PACKAGES = {"api", "transcription", "worker", "murmur"}
SIZES = Counter(
    path.parent
    for room in ("transcription", "api", "worker", "murmur", "demo", "bench")
    for path in (ROOT / room).rglob("*.py")
)


@pytest.mark.parametrize(
    "folder", [folder for folder, size in SIZES.items() if size > MOST], ids=lambda path: path.name
)
def test_a_folder_of_many_files_says_why(folder: Path) -> None:
    page = folder / "README.md"
    assert page.is_file(), f"{folder.relative_to(ROOT)} has {SIZES[folder]} files and no README.md that says why"
    assert "more than fifteen lie here" in " ".join(page.read_text("utf-8").split())


def test_the_tree_in_the_readme_is_the_tree() -> None:
    tree = (ROOT / "README.md").read_text("utf-8").partition("```text\napi/")[2].partition("```")[0]
    rooms: dict[str, set[str]] = {}
    for line in f"api/{tree}".splitlines():
        room, *rest = re.findall(r"([a-z]+)/", line)
        if room in PACKAGES:
            rooms[room] = set(rest)
        else:
            assert all((ROOT / name).is_dir() for name in (room, *rest))
    assert set(rooms) == PACKAGES
    for room, told in rooms.items():
        there = {path.parent.name for path in (ROOT / room).glob("*/__init__.py")}
        # Errors, ports and settings are part of the domain, not adapters of it.
        assert told == there - {"errors", "ports", "settings"}, room
