"""What can go wrong with a backup."""

from murmur.errors import CliError


class BackupFailed(CliError):
    """There is no backup, or it isn't whole; the message says why."""

    def __init__(self, message: str) -> None:
        super().__init__(message, status=1)
