"""What the routes' tests stand on: the API against a ledger in memory."""

import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog

from tests.api_client import Bench, bench


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Bench]:
    """The API in this process; a module that needs other settings has a fixture of its own by this name."""
    async with bench(tmp_path) as running:
        yield running


@pytest.fixture
def untouched_logging() -> Iterator[None]:
    """Logging as it was, after the test."""
    loggers = [logging.getLogger(name) for name in (None, "uvicorn", "uvicorn.error", "uvicorn.access")]
    before = [(list(logger.handlers), logger.level, logger.propagate) for logger in loggers]
    yield
    structlog.reset_defaults()
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers[:] = handlers
        logger.level, logger.propagate = level, propagate
