"""Log lines as a person in a terminal meets them."""

import io
import logging

import pytest
import structlog

from transcription.observability import logs


def test_a_request_is_half_a_line_and_an_error_says_why() -> None:
    stream = io.StringIO()
    before = structlog.get_config()
    try:
        logs.configure(level="INFO", style="text", service="api", stream=stream)
        log = structlog.get_logger("api.request")
        facts = {
            "method": "GET",
            "path": "/v1/jobs",
            "route": "/v1/jobs",
            "processing_time_ms": 4.2,
            "audio_hash": None,
        }
        log.info("request", status=200, request_id="r1", error_message=None, **facts)
        log.info("request", status=413, request_id="r2", error="too_large", error_message="1 GB", **facts)
        log.warning("ledger unavailable", script="claim", error="no answer")
        try:
            int("broken")
        except ValueError:
            log.exception("unexpected error")
    finally:
        structlog.configure(**before)
    good, refused, warning, *rest = stream.getvalue().splitlines()
    assert good[9:] == "GET /v1/jobs 200 4 ms"
    assert refused[9:] == "GET /v1/jobs 413 4 ms  too_large: 1 GB (request r2)"
    assert warning[9:] == "WARNING ledger unavailable script=claim error=no answer"
    assert rest[0].endswith("ERROR unexpected error")
    assert rest[-1].startswith("ValueError: ")


@pytest.mark.parametrize(
    "sign", ["\x1b[2J", "\x1b]0;owned\x07", "\r", "\n", "\x9b31m", "\x08", "\u202e", "\x7f", "\u2028"]
)
def test_nothing_that_a_client_sends_moves_the_terminal_or_begins_a_line(sign: str) -> None:
    stream = io.StringIO()
    before = structlog.get_config()
    try:
        logs.configure(level="INFO", style="text", service="api", stream=stream)
        log = structlog.get_logger("api.request")
        facts = {"method": "GET", "path": f"/v1/{sign}x", "status": 422, "processing_time_ms": 1.0}
        log.info("request", error="invalid_option", error_message=f"got {sign}", request_id="r", **facts)
        log.warning("odd", filename=f"a{sign}b")
        try:
            int(f"no {sign}")
        except ValueError:
            log.exception("unexpected error")
    finally:
        structlog.configure(**before)
    written = stream.getvalue()
    assert sign not in written or sign == "\n"
    assert all(line.isprintable() for line in written.split("\n"))
    assert written.split("\n")[2].endswith("ERROR unexpected error")


def test_what_is_meant_for_a_painted_terminal_is_left_out() -> None:
    stream = io.StringIO()
    before = structlog.get_config()
    try:
        logs.configure(level="INFO", style="text", service="api", stream=stream)
        painted = {"color_message": "Started [\x1b[36m%d\x1b[0m]"}
        logging.getLogger("uvicorn.error").info("Started [%d]", 7, extra=painted)
    finally:
        structlog.configure(**before)
    assert stream.getvalue().strip().endswith("Started [7]")
