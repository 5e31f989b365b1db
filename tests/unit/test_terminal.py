"""What `murmur up` prints: whole lines under their names, with colours for people and without for programs."""

import io

import pytest

from murmur.platform.terminal import Terminal

LONG = "[red]not markup[/] " + 40 * "word "


class Tty(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that can show colours, whatever runs the tests."""
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.mark.usefixtures("colours")
def test_line_that_goes_to_a_program_is_whole_and_plain() -> None:
    stream = io.StringIO()
    Terminal(stream).line("w1", LONG)
    assert stream.getvalue() == f"w1     | {LONG}\n"


@pytest.mark.usefixtures("colours")
def test_name_is_coloured_on_a_terminal_and_the_line_is_left_as_it_is() -> None:
    stream = Tty()
    Terminal(stream).line("api", LONG)
    assert stream.getvalue() == f"\x1b[34mapi    \x1b[0m| {LONG}\n"


@pytest.mark.usefixtures("colours")
def test_terminal_of_somebody_who_wants_no_colours_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Tty()
    Terminal(stream).line("api", "up")
    assert stream.getvalue().replace("\x1b[0m", "") == "api    | up\n"


def test_quiet_terminal_keeps_the_lines_for_later() -> None:
    stream = io.StringIO()
    terminal = Terminal(stream, quiet=True)
    terminal.line("api", "up")
    assert (stream.getvalue(), terminal.kept) == ("", ["api    | up"])
