"""What the pages and files say of the settings, of make, of the API and of the compose stack holds."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from murmur.cli import settings_table
from murmur.platform.environment import PREFIX
from tests.compose_files import SERVICES
from transcription.settings import Settings
from transcription.settings.environment import NOT_SETTINGS, names

ROOT = Path(__file__).parents[2]
DEPLOYMENT = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")


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
        monkeypatch.setenv(row.name, row.default)
    assert Settings().model_dump() == Settings.model_construct().model_dump()


def test_the_compose_files_own_variables_are_on_their_page_and_no_unknown_settings() -> None:
    files = [*ROOT.glob("docker-compose*.yml"), ROOT / "deploy" / "macos" / "compose.yml"]
    used = {name for file in files for name in re.findall(r"\$\{(MURMUR_\w+)", file.read_text(encoding="utf-8"))}
    own = used - set(names(Settings))
    assert len(own) > 20
    assert own - NOT_SETTINGS == set()
    told = DEPLOYMENT + (ROOT / "docs" / "macos.md").read_text(encoding="utf-8")
    # deploy/upgrade.sh alone says which commit it builds.
    assert own - set(re.findall(r"MURMUR_\w+", told)) == {"MURMUR_COMMIT"}


def test_the_page_has_every_service_and_who_may_reach_the_internet() -> None:
    section = DEPLOYMENT.partition("\n## What runs\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `[^|]+", section, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`([\w-]+)`", row.partition("(")[0])} == set(SERVICES)
    (outside,) = re.findall(r"On a network\s+that\s+has\s+it\s+are([^.]+)\.", section)
    assert set(re.findall(r"`([\w-]+)`", outside)) == {
        name for name, service in SERVICES.items() if "outside" in service["networks"]
    }


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
