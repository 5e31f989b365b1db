"""The pages: a short README, a map that has every page, and an engine that does what its page says."""

import re
from pathlib import Path

import numpy as np
import pytest

from transcription.errors import Stopped
from transcription.options import Decoding
from transcription.settings import Settings
from transcription.spans import Span
from worker.audio.windows import Window
from worker.engines import choice

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def test_the_readme_is_short_and_shows_the_page_and_two_commands() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) < 150
    assert "(docs/images/page.png)" in text
    commands = re.search(r"^## Two commands\n.*?^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert [line.split("#")[0].strip() for line in commands[1].splitlines()] == ["make demo", "make run"]


def test_the_map_names_every_page_in_one_of_three_parts() -> None:
    text = (DOCS / "README.md").read_text("utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Try it", "Run it", "Change it"]
    pages = {path.name for path in DOCS.glob("*.md")} - {"README.md"}
    assert pages
    assert pages - set(re.findall(r"\]\(([\w-]+\.md)\)", text)) == set()


def test_nobody_is_sent_to_an_index_for_our_package_or_to_a_lock_that_is_not_there() -> None:
    pages = [*ROOT.glob("*.md"), *DOCS.glob("*.md"), *(ROOT / "deploy").rglob("*.md")]
    sources = [path for part in ("api", "murmur", "transcription", "worker") for path in (ROOT / part).rglob("*.py")]
    texts = {path: path.read_text("utf-8") for path in [*pages, *sources] if path.name != "CHANGELOG.md"}
    # The distribution's name, which pip would look for elsewhere.
    named = {path.name for path, text in texts.items() if "murmuration-asr" in text}
    assert named == {"build.py"}  # which asks for the version of what is installed
    locks = {lock for text in texts.values() for lock in re.findall(r"requirements/[\w.]+\.txt", text)}
    assert len(locks) > 5
    assert [lock for lock in locks if not (ROOT / lock).is_file()] == []


def test_the_engine_of_its_page_is_loaded_and_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", (DOCS / "engines.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    (tmp_path / "lengths.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = Settings.model_validate({"model": "demo", "worker": {"engine": "lengths:make"}})
    engine = choice.load("demo", settings, locate=lambda name, _: tmp_path)
    window = Window.collect([Span(2.0, 5.5)], np.zeros(16_000 * 6, np.float32))
    written = list(engine.transcribe([window], Decoding(), language="en", owner="o", cancelled=lambda: False))
    assert [(one.start, one.end, one.text) for one in written[0]] == [(2.0, 5.5, " 3.5 seconds")]
    assert engine.steps == engine.progress("o") == 1
    with pytest.raises(Stopped):
        list(engine.transcribe([window], Decoding(), language="en", owner="o", cancelled=lambda: True))
