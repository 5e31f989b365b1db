"""The stack is brought up once, with fresh volumes, and taken down with them."""

import os
import wave
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import numpy as np
import pytest

from demo import SAMPLES
from tests.compose.stack import Stack, engine_answers
from tests.platform import eventually
from transcription.media.audio import RATE
from transcription.media.codecs.decode import decode


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, _no_settings_from_outside: None) -> Iterator[Stack]:
    """The whole stack, built from this checkout, with two API replicas, one worker, and a `.env` of its own."""
    if not os.environ.get("TEST_COMPOSE"):
        pytest.skip("`make test-compose` runs these: they build images and take minutes")
    if not engine_answers():
        pytest.skip("no Docker engine with Compose answers here")
    variables = tmp_path_factory.mktemp("stack") / ".env"
    variables.touch()
    running = Stack(COMPOSE_ENV_FILES=str(variables))
    running.compose("down", "-v", "--remove-orphans")
    try:
        running.compose("up", "-d", "--build", timeout_s=1800)
        eventually(running.settled, within_s=120, every_s=1)
        yield running
    finally:
        running.compose("down", "-v", "--remove-orphans", timeout_s=300)


@pytest.fixture
def whole(stack: Stack) -> Iterator[Stack]:
    """The stack, whole again after the test."""
    yield stack
    for service in ("redis", "redis-cache", "nginx"):
        stack.compose("up", "-d", "--no-recreate", "--no-build", "--no-deps", service)
    stack.compose("up", "-d", "--no-build", "--scale", "api=2", "--scale", "worker=1")
    eventually(stack.settled, within_s=120, every_s=1)
    eventually(lambda: stack.workers() == 1, within_s=120, every_s=1)


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int, int], list[Path]]:
    """Recordings that sound like a sample but are different bytes each: no dedup cache knows them."""
    directory = tmp_path_factory.mktemp("recordings")

    def make(sample: str, first: int, count: int) -> list[Path]:
        samples = (decode(SAMPLES[sample].path, limit_s=1000) * 32767).astype(np.int16)
        made = []
        for number in range(first, first + count):
            changed = samples.copy()
            changed[number] ^= 1
            made.append(directory / f"{sample}-{number}.wav")
            with wave.open(str(made[-1]), "wb") as wav:
                wav.setnchannels(1)
                wav.setsampwidth(2)
                wav.setframerate(RATE)
                wav.writeframes(changed.tobytes())
        return made

    return make


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the containers wrote last beside a failure."""
    report = yield
    used = getattr(item, "funcargs", {}).get("stack")
    if report.failed and isinstance(used, Stack):
        report.sections.append(("docker compose", used.compose("ps", "-a") + used.compose("logs", "--tail", "25")))
    return report
