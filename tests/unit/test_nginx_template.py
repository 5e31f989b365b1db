"""The edge's limits of time, held against what the API promises: no answer is cut that the API would have given."""

import re

import pytest

from tests.compose_files import ROOT, seconds
from transcription.settings import Settings

TEMPLATE = (ROOT / "nginx" / "nginx.conf.template").read_text("utf-8")
RENDER = (ROOT / "nginx" / "render.sh").read_text("utf-8")


def directive(name: str) -> str:
    """The one value of a directive."""
    (value,) = re.findall(rf"^\s*{name} ([^;]+);", TEMPLATE, re.MULTILINE)
    return str(value)


def test_edge_waits_as_long_as_a_synchronous_transcription_may_take() -> None:
    api = Settings().api
    assert seconds(directive("proxy_read_timeout")) >= api.max_sync_s
    assert seconds(directive("proxy_read_timeout")) > api.max_wait_s


def test_edge_leaves_the_silence_of_uploads_to_the_api() -> None:
    limits = Settings().limits
    for name in ("client_body_timeout", "proxy_send_timeout"):
        assert seconds(directive(name)) > limits.upload_timeout_s


def test_a_new_configuration_cuts_no_upload_and_no_synchronous_transcription() -> None:
    told = Settings()
    assert seconds(directive("worker_shutdown_timeout")) >= max(told.limits.max_upload_s, told.api.max_sync_s)


@pytest.mark.parametrize(("name", "most_s"), [("proxy_connect_timeout", 2), ("resolver_timeout", 5)])
def test_replica_that_is_not_there_is_passed_over_soon(name: str, most_s: float) -> None:
    assert 0 < seconds(directive(name)) <= most_s


def test_addresses_of_replicas_are_asked_for_again_within_seconds() -> None:
    found = re.search(r"valid=(\w+)", directive("resolver"))
    assert found
    assert seconds(found[1]) <= 5


def test_idle_clients_and_slow_readers_are_let_go() -> None:
    assert 5 <= seconds(directive("client_header_timeout")) <= 60
    assert 30 <= seconds(directive("send_timeout")) <= 300
    assert 30 <= seconds(directive("keepalive_timeout")) <= 300


def test_a_replica_whose_host_is_gone_is_noticed_though_its_answers_may_take_an_hour() -> None:
    assert directive("proxy_socket_keepalive") == "on"


def test_edge_does_not_say_which_version_it_is() -> None:
    assert directive("server_tokens") == "off"


def test_only_current_tls_is_spoken() -> None:
    assert re.findall(r"^ssl_protocols (.*);", RENDER, re.MULTILINE) == ["TLSv1.2 TLSv1.3"]


def test_what_was_sent_is_never_sent_twice() -> None:
    # `non_idempotent` would send a POST again whose replica died with it.
    assert directive("proxy_next_upstream").split() == ["error", "timeout"]
    assert seconds(directive("proxy_next_upstream_timeout")) <= 10


def test_every_way_to_the_api_is_limited_by_address() -> None:
    ways = [
        block
        for block in re.split(r"^\s*location ", TEMPLATE, flags=re.MULTILINE)[1:]
        if re.search(r"proxy_pass http://\$(?:api|uploads);", block)
    ]
    assert len(ways) == 3
    # What comes here has been limited on its way: `/` alone leads here, after its own try.
    (again,) = (block for block in ways if block.startswith("@again "))
    assert TEMPLATE.count("@again;") == 1
    ways.remove(again)
    for block in ways:
        assert "limit_req zone=requests burst=@burst@ nodelay;" in block
        assert "limit_conn connections @connections@;" in block


def test_bodies_and_their_length_are_limited_as_the_start_script_reckons() -> None:
    assert directive("client_max_body_size") == "@max_body@"
