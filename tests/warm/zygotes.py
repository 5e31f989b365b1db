"""Has the processes that sandboxes open files in forked, too: numpy and the codecs are imported once a run."""

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

from tests.warm.forked import Forked, Streams, parent
from transcription.media import sandbox

MODULE = "transcription.media.zygote"
PREPARED = ("transcription.media.codecs.decode:decode_into", "transcription.media.codecs.probe:probe_descriptor")
"""What the warm process has imported. A sandbox of another function starts its own, as users' do."""


def install() -> None:
    """Let every sandbox of this process do so."""
    if sys.platform == "linux":
        vars(sandbox)["subprocess"] = SimpleNamespace(**vars(subprocess) | {"Popen": _popen})


def ready() -> None:
    """See that the warm process is there: who is forked has secrets in its environment, and may not start it."""
    parent(MODULE, {})


def _popen(argv: list[str], *, stdin: int, stdout: int, env: dict[str, str]) -> Any:
    if argv[1:3] != ["-m", MODULE] or argv[3] not in PREPARED:
        return subprocess.Popen(argv, stdin=stdin, stdout=stdout, env=env)
    asked: dict[str, object] = {
        "arguments": argv[3:], "warnings": [], "environment": env, "directory": os.getcwd(), "umask": _umask()  # noqa: PTH109
    }  # fmt: skip
    return Forked(parent(MODULE, {}), argv, asked, Streams(stdin, stdout))


def _umask() -> int:
    os.umask(mask := os.umask(0o077))
    return mask
