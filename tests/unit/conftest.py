"""What the routes' tests stand on: the API against a ledger in memory."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api_client import Bench, bench


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Bench]:
    """The API in this process; a module that needs other settings has a fixture of its own by this name."""
    async with bench(tmp_path) as running:
        yield running
