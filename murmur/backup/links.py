"""Recordings held for a backup: hard links, so that a recording that is deleted meanwhile still gets into it."""

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

_NO_LINKS = {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}


def hold(blobs: Path, into: Path) -> None:
    """
    Link every stored recording of *blobs*, and every result that lies there, into *into*, where it isn't yet.

    Where the file system has no hard links, the files are copied.
    """
    folders = [*blobs.glob("[0-9a-f][0-9a-f]"), *blobs.glob("results/[0-9a-f][0-9a-f]")]
    for folder in sorted(folders):
        target = into / folder.relative_to(blobs)
        target.mkdir(parents=True, exist_ok=True)
        for file in os.scandir(folder):
            # Others delete recordings while this runs.
            with suppress(FileNotFoundError, FileExistsError):
                _link(Path(file.path), target / file.name)


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if not target.exists():
            part = target.with_suffix(".part")
            shutil.copyfile(source, part)
            part.rename(target)
