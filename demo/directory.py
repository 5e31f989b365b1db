"""A directory that is either complete or not there, however many processes want it at once."""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

STAMP_FILE = "demo.json"

Stamp = Mapping[str, object]


def publish(directory: Path, stamp: Stamp, write: Callable[[Path], None]) -> Path:
    """
    Make *directory* hold what *write* writes, unless it already carries *stamp*.

    The content is written into a sibling and renamed into place, so that no reader can see half of it. Processes
    that start at the same moment wait for the first (a lock file beside the directory) and use its work.

    Args:
        directory: Where to publish. An export with another stamp is replaced.
        stamp: What identifies the content; kept in the directory as `demo.json`.
        write: Fills the empty directory that it is given.

    Returns:
        *directory*.

    Raises:
        FileExistsError: *directory* exists, isn't empty and isn't one of our exports.
    """
    if _read_stamp(directory) == stamp:
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    with _locked(directory.with_name(f".{directory.name}.lock")):
        if _read_stamp(directory) == stamp:
            return directory
        _refuse_foreign(directory)
        draft = directory.with_name(f".{directory.name}.draft")
        # What a killed process left behind; the lock says that nobody is writing it now.
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        write(draft)
        (draft / STAMP_FILE).write_text(json.dumps(stamp), encoding="utf-8")
        _flush(draft)
        _replace(directory, draft)
    return directory


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read_stamp(directory: Path) -> object:
    try:
        return json.loads((directory / STAMP_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _refuse_foreign(directory: Path) -> None:
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return
    if not (directory / STAMP_FILE).exists():
        message = f"{directory} holds something else than the demo model; name an empty or a new directory"
        raise FileExistsError(message)


def _flush(directory: Path) -> None:
    """Bring every file to the disk before the rename makes it visible, so that a power cut can't leave half a model."""
    for path in directory.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _replace(directory: Path, draft: Path) -> None:
    outdated = directory.with_name(f".{directory.name}.outdated")
    shutil.rmtree(outdated, ignore_errors=True)
    if directory.exists():
        directory.rename(outdated)
    draft.rename(directory)
    shutil.rmtree(outdated, ignore_errors=True)
