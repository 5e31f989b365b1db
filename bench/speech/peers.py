"""
Other services, run unmodified beside us: `--peers FILE` names a JSON file that says how each is started and asked.

    {"NAME": {"argv": ["…", "{port}", "{model}"], "env": {}, "path": "/asr?output=txt&language={language}",
              "field": "audio_file", "form": {}, "text": "text"}}

``text`` is the field of a JSON answer that holds the transcript; without it the answer's body is the transcript.
"""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from murmur.platform.ledger_server import free_port

START_S = 120


@contextmanager
def running(peer: dict[str, Any], model: Path) -> Iterator[Callable[[Path, str | None], str]]:
    """Start *peer*, wait until it transcribes, and give the function that asks it."""
    port = free_port()
    argv = [part.format(port=port, model=model) for part in peer["argv"]]
    process = subprocess.Popen(argv, env={**os.environ, **peer.get("env", {})}, start_new_session=True)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600)

    def transcribe(path: Path, language: str | None) -> str:
        form = {name: value.format(language=language, model=model) for name, value in peer.get("form", {}).items()}
        with path.open("rb") as file:
            address = peer["path"].format(language=language)
            answer = client.post(address, files={peer["field"]: (path.name, file)}, data=form)
        answer.raise_for_status()
        return str(answer.json()[peer["text"]]) if "text" in peer else answer.text

    try:
        deadline = time.monotonic() + START_S
        while process.poll() is None and time.monotonic() < deadline:
            try:
                client.get("/docs")
                break
            except httpx.HTTPError:
                time.sleep(0.2)
        yield transcribe
    finally:
        client.close()
        process.terminate()
        process.wait(30)
