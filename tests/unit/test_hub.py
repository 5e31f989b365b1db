from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from faster_whisper import utils

from transcription.models import REPOSITORIES
from transcription.settings import Settings
from transcription.storage import model_hub


class Hub(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        known = self.path == "/Systran/faster-whisper-base/resolve/main/config.json"
        self.send_response(200 if known else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with HTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


def test_a_hub_that_answers_gives_base(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)
    assert model_hub.hub_reachable(2)
    assert model_hub.choose(Settings(data_dir=tmp_path, model="auto")) == "base"


def test_a_gateway_that_answers_in_the_hubs_place_does_not_count(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"{address}/sorry")
    assert not model_hub.hub_reachable(2)


@pytest.mark.usefixtures("no_hub")
def test_without_a_hub_the_demo_model_is_served(tmp_path: Path) -> None:
    assert model_hub.choose(Settings(data_dir=tmp_path, model="auto")) == "demo"


@pytest.mark.usefixtures("no_hub")
def test_what_was_downloaded_before_needs_no_hub(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, model="auto")
    snapshot = settings.model_dir / "models--Systran--faster-whisper-base/snapshots/1234"
    snapshot.mkdir(parents=True)
    assert model_hub.choose(settings) == "demo"
    (snapshot / "model.bin").write_bytes(b"weights")
    assert model_hub.choose(settings) == "base"


def test_every_published_model_is_looked_for_where_it_is_fetched_to(tmp_path: Path) -> None:
    assert REPOSITORIES == utils._MODELS
    snapshot = tmp_path / "models--mobiuslabsgmbh--faster-whisper-large-v3-turbo/snapshots/1234"
    snapshot.mkdir(parents=True)
    (snapshot / "model.bin").write_bytes(b"weights")
    assert [model for model in REPOSITORIES if model_hub.downloaded(tmp_path, model)] == ["large-v3-turbo", "turbo"]


def test_a_hub_switched_off_is_not_asked(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not model_hub.hub_reachable(2)


@pytest.mark.usefixtures("no_hub")
def test_a_model_that_was_named_is_served(tmp_path: Path) -> None:
    assert model_hub.choose(Settings(data_dir=tmp_path, model="small")) == "small"
