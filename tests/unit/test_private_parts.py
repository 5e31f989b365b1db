"""What we use of other packages without their promise is there as we know it, in the versions that may come."""

import inspect
import re
import tomllib
from pathlib import Path

import uvicorn
from faster_whisper import WhisperModel
from faster_whisper.transcribe import get_compression_ratio, get_ctranslate2_storage, get_suppressed_tokens
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)  # type: ignore[arg-type]


def test_only_versions_come_in_whose_private_parts_were_looked_at() -> None:
    wanted = [
        *PROJECT["dependencies"],
        *(line for extra in PROJECT["optional-dependencies"].values() for line in extra),
    ]
    for package in ("uvicorn", "faster-whisper", "celery"):
        lines = [line for line in wanted if re.match(rf"{package}[\[>=]", line)]
        assert lines, package
        assert all(re.search(r",<\d+\.\d+$", line) for line in lines), lines


def test_the_server_has_what_its_stop_is_built_on() -> None:
    server = uvicorn.Server(uvicorn.Config(app=lambda: None))  # type: ignore[arg-type]
    assert isinstance(server.server_state, ServerState)
    assert server.server_state.connections == set()
    assert parameters(uvicorn.Server.shutdown) == ["self", "sockets"]
    assert "self.servers" in inspect.getsource(uvicorn.Server.startup)
    assert parameters(HttpToolsProtocol.__init__)[1:4] == ["config", "server_state", "app_state"]
    assert "self.cycle" in inspect.getsource(HttpToolsProtocol.__init__)
    assert "response_started" in inspect.getsource(RequestResponseCycle.__init__)


def test_faster_whisper_has_what_our_stages_call() -> None:
    assert parameters(WhisperModel._split_segments_by_timestamps)[1:] == [
        "tokenizer", "tokens", "time_offset", "segment_size", "segment_duration", "seek",
    ]  # fmt: skip
    assert parameters(WhisperModel.add_word_timestamps)[1:6] == [
        "segments", "tokenizer", "encoder_output", "num_frames", "prepend_punctuations",
    ]  # fmt: skip
    assert {"previous_tokens", "without_timestamps", "prefix", "hotwords"} < set(parameters(WhisperModel.get_prompt))
    for function in (get_compression_ratio, get_ctranslate2_storage, get_suppressed_tokens):
        assert callable(function)
    source = inspect.getsource(WhisperModel.__init__)
    assert all(f"self.{name}" in source for name in ("frames_per_second", "tokens_per_second", "max_length"))
