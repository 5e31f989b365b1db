"""Clients as others publish them, with nothing changed but their base URL; docs/clients.md names them."""

import json
import re
import shutil

import pytest

from demo import SAMPLES
from tests.clients.tools import HERE, ROOT, Script
from tests.platform import TestPlatform

SHORT = SAMPLES["short"]
WORDS = SHORT.transcript.split()
PAGE = (ROOT / "docs" / "clients.md").read_text("utf-8")


def test_openai_node_works_with_streams_errors_and_azure(run_node: Script, platform: TestPlatform) -> None:
    said = run_node("openai.mjs", platform.url, SHORT.path)
    for text in (said["text"], said["deltas"], said["azure"]):
        assert text.split() == WORDS
    assert said["words"] == WORDS
    assert said["refused"] == [True, "invalid_language_format"]
    assert said["srt"]
    assert said["models"]


def test_vercel_s_ai_works(run_node: Script, platform: TestPlatform) -> None:
    said = run_node("ai.mjs", platform.url, SHORT.path)
    assert said["text"].split() == WORDS
    assert said["segments"] == len(SHORT.segments)
    assert said["language"] == "en"
    assert said["seconds"] == pytest.approx(SHORT.segments[-1].end, abs=2)


def test_litellm_works(run_python: Script, platform: TestPlatform) -> None:
    said = run_python("litellm_client.py", platform.url, SHORT.path)
    assert said["text"].split() == WORDS
    assert said["words"] == WORDS
    assert said["refused"] == "BadRequestError"


def test_langchain_s_azure_parser_works(run_python: Script, platform: TestPlatform) -> None:
    assert run_python("langchain_client.py", platform.url, SHORT.path, "azure")["text"].split() == WORDS


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="LangChain's own parser calls ffmpeg, which isn't installed")
def test_langchain_s_parser_works(run_python: Script, platform: TestPlatform) -> None:
    # It sends MP3, which it makes itself: a word or two may come out otherwise than from the original.
    heard = run_python("langchain_client.py", platform.url, SHORT.path, "openai")["text"].split()
    assert len(set(WORDS) & set(heard)) > len(set(WORDS)) * 0.8


def test_the_page_of_clients_names_the_versions_and_the_tests_that_there_are() -> None:
    node = json.loads((HERE / "package.json").read_text("utf-8"))["dependencies"]
    python = dict(re.findall(r"^([\w-]+)==(\S+)", (HERE / "python.txt").read_text("utf-8"), re.MULTILINE))
    for name, version in {
        "openai-node": node["openai"], "Vercel's `ai`": node["ai"], "LiteLLM": python["litellm"],
        "LangChain": python["langchain-community"], "openapi-python-client": python["openapi-python-client"],
        "openapi-typescript": node["openapi-typescript"],
    }.items():  # fmt: skip
        (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| {name}")]
        assert version in row
    tests = re.findall(r"`(tests/\S+?\.py)`", PAGE)
    assert len(tests) > 8
    assert [test for test in tests if not (ROOT / test).is_file()] == []
