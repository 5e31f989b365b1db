"""What the pages for clients, and for those who come from elsewhere, name is there."""

import re
from pathlib import Path

import pytest

from murmur.cli import settings_table
from tests.api_client import bench

ROOT = Path(__file__).parents[2]
PAGES = ["migrating.md", "production-checklist.md", "api.md"]
# Of Compose, not of the platform.
ELSEWHERE = {"MURMUR_WORKER_CPUS"}


def text(page: str) -> str:
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_that_a_page_names_exists(page: str) -> None:
    known = {row.name for row in settings_table.rows()} | ELSEWHERE
    named = set(re.findall(r"\bMURMUR_[A-Z][A-Z_]*[A-Z]\b", text(page)))
    assert named
    assert named <= known


@pytest.mark.parametrize("page", PAGES[:2])
def test_every_file_that_a_page_names_exists(page: str) -> None:
    wanted = re.findall(
        r"`((?:api|transcription|worker|murmur|tests|nginx|monitoring|docs|deploy)/[\w./-]*)`", text(page)
    )
    assert wanted
    assert [path for path in wanted if not (ROOT / path).exists()] == []


@pytest.mark.anyio
async def test_every_route_that_the_migration_names_is_served(tmp_path: Path) -> None:
    named = re.findall(r"^\| `(GET|POST|DELETE) (/[\w/{}.-]+)`", text("migrating.md"), re.MULTILINE)
    assert len(named) > 15
    async with bench(tmp_path) as api:
        served = {re.sub(r"\{[^}]*\}", "{}", path): methods for path, methods in api.app.openapi()["paths"].items()}
    for method, path in named:
        assert method.lower() in served[re.sub(r"\{[^}]*\}", "{}", path)], path
