"""CliError: what a person at the command line can do something about."""


class CliError(Exception):
    """One clear sentence for stderr, and the exit status that goes with it."""

    def __init__(self, sentence: str, *, status: int = 2) -> None:
        super().__init__(sentence)
        self.status = status
