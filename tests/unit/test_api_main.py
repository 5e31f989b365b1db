"""What the API's server is told when it is started, and what is said where it can't be."""

import socket
from typing import Any, NoReturn

import pytest
import uvicorn

from api import main
from transcription.settings import Api, Settings


class Asked(Exception):
    """The server's settings, in place of a server."""


def test_the_server_believes_no_proxy_ends_in_time_and_leaves_logs_to_us(monkeypatch: pytest.MonkeyPatch) -> None:
    def config(*_: Any, **told: Any) -> NoReturn:
        raise Asked(told)

    monkeypatch.setattr(uvicorn, "Config", config)
    with pytest.raises(Asked) as asked:
        main._serve(Settings(model="demo", api=Api(stop_s=7)), None)
    (told,) = asked.value.args
    assert told["proxy_headers"] is False, "trusted_proxies says whom to believe"
    assert told["timeout_graceful_shutdown"] == 7
    assert (told["access_log"], told["log_config"], told["server_header"]) == (False, None, False)


def test_a_port_that_somebody_else_has_is_named_in_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit, match=f"^can't listen on 127.0.0.1 port {port}: Address already in use$"):
            main._serve_together(Settings(model="demo", api=Api(host="127.0.0.1", port=port)), 2)
