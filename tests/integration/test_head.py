"""HEAD over a real connection: the head that GET would have, no body, and a connection that goes on."""

import logging

import httpx
import pytest

PATHS = ("/v1/jobs", "/v1/jobs/unknown", "/nothing", "/web/nothing", "/health/live", "/metrics", "/docs", "/")


@pytest.mark.parametrize("path", PATHS)
def test_head_is_answered_as_get_without_the_body(
    api: httpx.Client, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "uvicorn.error"):
        got, head = api.get(path), api.head(path)
        assert head.status_code == got.status_code
        assert head.headers["content-type"] == got.headers["content-type"]
        assert head.content == b""
        # What the server takes for a broken answer costs the connection.
        assert api.get("/health/live").status_code == 200
    assert [record.getMessage() for record in caplog.records if record.name == "uvicorn.error"] == []
