"""`murmur backup`: the ledger and the recordings in one verified file. Straight against the ledger and the disk."""

import signal
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from redis import Redis

from murmur.backup import take
from murmur.backup.errors import BackupFailed
from murmur.backup.schedule import Schedule
from murmur.backup.verify import Verified, check_earlier
from murmur.backup.verify import verify as verified
from murmur.cli.json_output import AsJson, print_json
from murmur.cli.ledger.connection import DataDir, Ledger, connected
from murmur.platform.environment import load
from transcription.encryption.files import FileEncryption, file_encryption
from transcription.errors import MurmurationError
from transcription.ledger import backup_record
from transcription.observability import logs
from transcription.settings import Settings

app = typer.Typer(
    help="Backups: take one while the platform runs, verify one, or take them on a schedule.", no_args_is_help=True
)

STDIO = "-"
AGAIN_S = 5.0
"""After which a command that goes on is ended again: by then it would have cleared away."""

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@app.command("create")
def create(
    file: Annotated[str, typer.Argument(help="File to write, which must not exist; `-`: standard output.")],
    ledger: Ledger = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Take a backup while the platform runs, and verify it (not on standard output)."""
    with _opened(ledger, data_dir) as (client, settings, encryption):
        if file == STDIO:
            take.stream(settings, encryption, sys.stdout.buffer)
            sys.stdout.buffer.flush()
            return
        if Path(file).exists():
            raise BackupFailed(f"{file} exists already")
        found = take.to_file(settings, encryption, Path(file))
        backup_record.taken(client, found.made_at)
    _print(found, file, as_json=as_json)


@app.command("verify")
def verify(  # noqa: PLR0917  typer makes options of them
    file: Annotated[str, typer.Argument(help="A backup; `-`: standard input.")],
    record: Annotated[
        bool, typer.Option("--record", help="Tell the ledger, whose metrics say when the last good backup was taken.")
    ] = False,
    earlier: Annotated[
        bool, typer.Option("--earlier", help="It is one of the two files of an earlier version, without checksums.")
    ] = False,
    ledger: Ledger = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Read all of a backup and compare it with its checksums."""
    encryption = _encryption(load({"data_dir": data_dir}))
    with _source(file) as source:
        if earlier:
            check_earlier(source, encryption)
            return
        found = verified(source, encryption)
    if record:
        with connected(ledger, data_dir) as (client, _):
            # One that says it is of the future would keep the alert quiet until then.
            backup_record.taken(client, min(found.made_at, time.time()))
    _print(found, file, as_json=as_json)


@app.command("schedule")
def schedule(
    off: Annotated[bool, typer.Option("--off", help="Say that no backups are scheduled any more, and exit.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Take one now, as the schedule would, and exit.")] = False,
    ledger: Ledger = None,
    data_dir: DataDir = None,
) -> None:
    """Take a backup every MURMUR_BACKUP__EVERY_S until it is stopped; docs/deployment.md."""
    with _opened(ledger, data_dir) as (client, settings, encryption):
        logs.configure(level=settings.log_level, style=settings.log_format, service="backup")
        runs = Schedule(settings, encryption, client)
        if off:
            backup_record.scheduled(client, None)
        elif once:
            # Another schedule than ours, as a CronJob is, says how often it comes round, so that the alert knows.
            if "every_s" in settings.backup.model_fields_set:
                backup_record.scheduled(client, settings.backup.every_s)
            runs.once()
        else:
            runs.run(threading.Event().wait)


@contextmanager
def _source(file: str) -> Iterator[BinaryIO]:
    """What to read. BackupFailed: it isn't there, or is no ordinary file, as a pipe that nobody writes to."""
    if file == STDIO:
        yield sys.stdin.buffer
        return
    path = Path(file)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise BackupFailed(f"{file} is no ordinary file; standard input is read with `-`")
        with path.open("rb") as source:
            yield source
    except OSError as error:
        raise BackupFailed(f"{file} can't be read: {error}") from error


@contextmanager
def _opened(ledger: str | None, data_dir: Path | None) -> Iterator[tuple[Redis, Settings, FileEncryption]]:
    """What a backup is made of; signals that end the process are exceptions inside, so that nothing is left behind."""
    for number in _ENDING:
        signal.signal(number, _end)
    with connected(ledger, data_dir) as (client, settings):
        try:
            yield client, settings, _encryption(settings)
        except MurmurationError as error:
            raise BackupFailed(error.message) from error


def _end(number: int, _: object) -> None:
    # A shell that is told to stop tells us too, so a second signal comes while the first one's end is under way.
    for other in _ENDING:
        signal.signal(other, signal.SIG_IGN)

    def again(*_: object) -> None:
        sys.exit(128 + number)

    # Python loses what is raised while an object is destroyed or a weak reference called back.
    signal.signal(signal.SIGALRM, again)
    signal.setitimer(signal.ITIMER_REAL, AGAIN_S, AGAIN_S)
    again()


def _encryption(settings: Settings) -> FileEncryption:
    try:
        return file_encryption(settings)
    except ValueError as error:
        raise BackupFailed(str(error)) from error


def _print(found: Verified, file: str, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "file": file,
                "made_at": found.made_at,
                "recordings": found.recordings,
                "content_bytes": found.content_bytes,
            }
        )
        return
    made = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(found.made_at))
    print(f"whole: taken {made}, {found.recordings} recordings, {found.content_bytes} bytes in all")


COMMANDS = {"backup": app}
