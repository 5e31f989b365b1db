"""The numbers of ports that tests are given: each once a run, and none where somebody listens."""

import socket
from pathlib import Path

import pytest

from tests.free_port import FIRST, LAST, STEP, free_port
from tests.run_directory import VARIABLE


@pytest.mark.parametrize("address", ["127.0.0.1", ""])
def test_a_number_at_which_somebody_listens_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str
) -> None:
    with socket.create_server((address, free_port())) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv(VARIABLE, str(tmp_path))  # a run of its own
        (tmp_path / "port").write_text(str(port - STEP))
        given = {free_port(), free_port()}
    assert len(given - {port}) == 2
    assert max(given) < 32768


def test_after_the_last_number_comes_the_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    (tmp_path / "port").write_text(str(LAST))
    assert FIRST <= free_port() < (FIRST + LAST) / 2
