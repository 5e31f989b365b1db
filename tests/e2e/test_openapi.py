"""The OpenAPI document is true: what it lets a client send never meets an answer that it doesn't describe."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from api.app import create_app
from tests.platform import TestPlatform
from transcription.settings import Settings

CASES = Path(__file__).with_name("openapi_cases.py")


@pytest.mark.timeout(900)  # some thousand requests
def test_an_answer_is_one_that_the_document_describes(platform: TestPlatform) -> None:
    paths = create_app(Settings(model="demo")).openapi()["paths"]
    operations = sum(len(methods.keys() & {"get", "post", "put", "patch", "delete"}) for methods in paths.values())
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "schemathesis", "-p", "timeout", str(CASES)],
        check=False,
        cwd=CASES.parents[2],
        env=os.environ | {"PLATFORM_URL": platform.url, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=840,
    )
    assert ended.returncode == 0, ended.stdout
    assert re.search(rf"\b{operations} passed", ended.stdout), ended.stdout  # each was tried
