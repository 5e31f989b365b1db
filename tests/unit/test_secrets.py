"""What must not be said aloud isn't: not by the settings, not in the logs, not in SECURITY.md's promises."""

import json
import logging
import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
import structlog
from pydantic import SecretStr

from tests import audio_files
from tests.api_client import Bench
from transcription.observability import logs
from transcription.settings import Ledger, Settings

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
PASSWORD = "correct-horse"
PROMPT = "the patient's name is Ada"


@pytest.fixture
def written() -> Iterator[StringIO]:
    """All that is logged, at the most talkative level; logging is as before after it."""
    root = logging.getLogger()
    handlers, level, before = root.handlers[:], root.level, structlog.get_config()
    stream = StringIO()
    logs.configure(level="DEBUG", style="json", service="api", stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**before)


def test_settings_never_print_a_password() -> None:
    url = SecretStr(f"redis://:{PASSWORD}@redis:6379/0")
    settings = Settings(ledger=Ledger(url=url, broker_url=url, cache_url=url))
    for said in (repr(settings), str(settings), settings.model_dump_json(), repr(settings.model_dump())):
        assert PASSWORD not in said
    assert PASSWORD in settings.ledger.broker()


async def test_logs_hold_neither_prompt_nor_transcript_nor_audio_nor_key(api: Bench, written: StringIO) -> None:
    audio = audio_files.wav(0.2)
    headers = {"Authorization": "Bearer mur_secretsecret", "content-type": "audio/wav"}
    answer = await api.http.post("/v1/jobs", params={"prompt": PROMPT}, content=audio, headers=headers)
    api.jobs.finish(answer.json()["id"])
    result = await api.http.get(f"/v1/jobs/{answer.json()['id']}/result?format=text", headers=headers)
    assert "Hello there" in result.text
    await api.http.post("/v1/jobs", params={"prompt": PROMPT, "beam_size": "99"}, content=audio, headers=headers)
    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert [line["status"] for line in lines if line["event"] == "request"] == [202, 200, 422]
    for word in ("patient", "Hello there", "secretsecret", "RIFF"):
        assert word not in written.getvalue(), word


def test_every_promise_of_the_security_page_names_a_test_that_there_is() -> None:
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and "`test_" in line]
    assert len(rows) >= 20
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    named = re.findall(r"`(test_\w+)`", page)
    assert len(named) >= len(rows)
    for name in named:
        assert re.search(rf"def {name}\b", sources), f"SECURITY.md names {name}, which isn't there"
