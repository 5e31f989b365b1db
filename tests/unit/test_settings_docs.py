"""What the pages and files say of the settings, of make and of the API holds."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from murmur.cli import settings_table
from murmur.platform.environment import PREFIX
from transcription.settings import Settings

ROOT = Path(__file__).parents[2]


def test_the_readme_has_the_ten_settings_that_matter_and_its_page_has_all() -> None:
    readme, page = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/configuration.md"))
    assert settings_table.with_table(readme, settings_table.important()) == readme, "run `make docs`"
    assert settings_table.with_table(page, settings_table.rows()) == page, "run `make docs`"
    assert len(list(settings_table.important())) == 10


def test_the_example_environment_has_every_setting_with_its_default() -> None:
    assert (ROOT / ".env.example").read_text(encoding="utf-8") == settings_table.env_example(), "run `make docs`"


def test_every_variable_in_the_table_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = list(settings_table.rows())
    assert len(rows) > 60
    for row in rows:
        assert row.name.startswith(PREFIX)
        assert row.description, f"{row.name} has no description"
        monkeypatch.setenv(row.name, row.default.replace("~", str(Path.home())))
    assert Settings().model_dump() == Settings.model_construct().model_dump()


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split())  # type: ignore[index]
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    assert targets == phony
    # Inside `make test`, make's own variables would reach this one.
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    said = subprocess.run(["make"], cwd=ROOT, env=clean, capture_output=True, text=True, check=True).stdout
    assert {line.split()[1] for line in said.splitlines()} == targets
    assert all(len(line.split()) > 3 for line in said.splitlines())


def test_links_in_the_pages_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "demo" / "README.md"]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8"))]
    inside = [(page, link) for page, link in links if not link.startswith(("http:", "https:"))]
    assert len(inside) > 10
    assert [(page.name, link) for page, link in inside if not (page.parent / link).exists()] == []
