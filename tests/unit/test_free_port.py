"""The numbers of ports that tests are given: each once a run, and none where somebody listens."""

import socket
from pathlib import Path

import pytest

from tests.free_port import FIRST, LAST, LAST_GIVEN, STEP, free_port
from tests.run_directory import VARIABLE


@pytest.fixture
def last_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file of the last number, of runs that nobody else has."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "one"))
    return tmp_path / LAST_GIVEN


@pytest.mark.parametrize("address", ["127.0.0.1", ""])
def test_a_number_at_which_somebody_listens_is_passed_over(last_given: Path, address: str) -> None:
    with socket.create_server((address, free_port())) as taken:
        port = taken.getsockname()[1]
        last_given.write_text(str(port - STEP))
        given = {free_port(), free_port()}
    assert len(given - {port}) == 2
    assert max(given) < 32768


def test_after_the_last_number_comes_the_first(last_given: Path) -> None:
    last_given.write_text(str(LAST))
    assert FIRST <= free_port() < (FIRST + LAST) / 2


def test_runs_beside_each_other_are_given_different_numbers(
    last_given: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    last_given.write_text(str(FIRST))
    given = {free_port()}
    monkeypatch.setenv(VARIABLE, str(tmp_path / "other"))
    assert free_port() not in given
