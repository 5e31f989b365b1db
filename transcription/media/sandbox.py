"""A sandbox for codecs: each call runs in a process of its own, with limits; see zygote.py for the other end."""

import errno
import json
import math
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from transcription.errors import CorruptAudio, DecoderFailed, InvalidAudio, InvalidOption, MurmurationError, leaves
from transcription.retry import classified

POLL_INTERVAL_S = 0.5
START_S = 60.0
_TRIES = 2
# What a codec's own mistakes end in, as against what the machine does to it.
_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGXCPU, signal.SIGXFSZ}
# What reading or writing the open files can end in that is the machine's fault.
_DISK_ERRORS = {errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.ESTALE, errno.ETIMEDOUT}
_LEAVES: dict[str, type[MurmurationError]] = {leaf.code: leaf for leaf in leaves(InvalidAudio)}
_LEAVES[InvalidOption.code] = InvalidOption
_THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class ZygoteGone(Exception):
    """The process that forks isn't there any more."""


class Sandbox:
    """
    Runs one function on open files, each time in a new process. Threads may share it.

    Args:
        function: As `package.module:name`. It takes descriptors, then keywords; what it returns must fit into JSON.
        memory_bytes: Address space that one call may take.
        confined: Lock each process in, see confinement.py; else it has limits only.
    """

    def __init__(self, function: str, *, memory_bytes: int, confined: bool = True) -> None:
        self._function = function
        self._memory_bytes = memory_bytes
        self._confined = confined
        self._lock = threading.Lock()
        self._zygote: tuple[subprocess.Popen[bytes], socket.socket] | None = None
        self._closed = False

    def start(self) -> None:
        """Start the process now, so that the first call needn't wait for its imports."""
        with self._lock, suppress(ZygoteGone):
            self._started()

    def close(self) -> None:
        """End the process, and with it every call."""
        with self._lock:
            self._closed = True
            self._end()

    def run(
        self,
        descriptors: Sequence[int],
        *,
        cpu_s: float,
        file_bytes: int = 0,
        moving: Callable[[], bool] = lambda: False,
        silence_s: float,
        **keywords: Any,
    ) -> Any:
        """
        Call the function.

        Args:
            descriptors: Open files for it, as many as it takes.
            cpu_s: Processor time that it may use.
            file_bytes: Longest file that it may write.
            moving: Called about twice a second; whether there was progress since. What it raises ends the call.
            silence_s: Longest time without progress.
            keywords: For the function; they must fit into JSON, and into 4 kB.

        Returns:
            What the function returned.

        Raises:
            CorruptAudio: the function crashed, or took more than it may.
            DecoderFailed: it was killed, or made no progress.
        DiskFull, ScratchFailed: a file couldn't be read or written.
        """
        limits = {"memory_bytes": self._memory_bytes, "cpu_s": math.ceil(cpu_s), "file_bytes": file_bytes}
        request = json.dumps({"limits": limits, "confined": self._confined, **keywords}).encode()
        for _ in range(_TRIES):
            answer, answer_end = os.pipe()
            try:
                pid = self._ask(request, [answer_end, *descriptors])
            except ZygoteGone:
                os.close(answer)
                continue
            finally:
                os.close(answer_end)
            try:
                return _result(_heard(answer, pid, moving, silence_s))
            finally:
                os.close(answer)
        raise DecoderFailed("the process that decodes couldn't be started")

    def _ask(self, request: bytes, descriptors: list[int]) -> int:
        with self._lock:
            requests = self._started()
            try:
                socket.send_fds(requests, [request], descriptors)
                reply = requests.recv(64)
            except OSError:
                reply = b""
            if not reply:
                self._end()
                raise ZygoteGone
            return int(reply)

    def _started(self) -> socket.socket:
        if self._closed:
            raise ZygoteGone
        if self._zygote is not None and self._zygote[0].poll() is None:
            return self._zygote[1]
        self._end()
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(  # noqa: S603  our own interpreter and module
                [sys.executable, "-m", "transcription.media.zygote", self._function],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=_environment(),
            )
        self._zygote = process, ours
        ours.settimeout(START_S)
        try:
            ready = ours.recv(1)
        except OSError:
            ready = b""
        if not ready:
            self._end()
            raise ZygoteGone
        return ours

    def _end(self) -> None:
        if self._zygote is None:
            return
        process, requests = self._zygote
        self._zygote = None
        requests.close()
        process.kill()
        process.wait()


def _heard(answer: int, pid: int, moving: Callable[[], bool], silence_s: float) -> list[bytes]:
    """What the child and the zygote said, in lines; the child is killed when it is silent for too long."""
    reply = b""
    moved_at = time.monotonic()
    poller = select.poll()
    poller.register(answer, select.POLLIN | select.POLLHUP)
    try:
        while True:
            if poller.poll(1000 * POLL_INTERVAL_S):
                more = os.read(answer, 65_536)
                reply += more
                # A whole answer is enough; how the child then ends is of interest only without one.
                if not more or (reply.endswith(b"\n") and reply.startswith((b'{"value"', b'{"error"'))):
                    return reply.splitlines()
            elif moving():
                moved_at = time.monotonic()
            elif time.monotonic() - moved_at > silence_s:
                raise DecoderFailed(f"the decoder made no progress for {silence_s:g} s")  # noqa: TRY301
    except BaseException:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
        raise


def _result(lines: list[bytes]) -> Any:
    answer = json.loads(lines[0]) if lines and lines[0].startswith(b"{") else {}
    if "error" in answer:
        raise _LEAVES[answer["error"]](answer["message"])
    if "value" in answer:
        return answer["value"]
    if answer.get("errno") in _DISK_ERRORS:
        raise classified(OSError(answer["errno"], os.strerror(answer["errno"])))
    status = int(lines[-1]) if lines and lines[-1].lstrip(b"-").isdigit() else -signal.SIGKILL
    if -status in _CRASHES:
        raise CorruptAudio(f"the decoder crashed on this file ({signal.Signals(-status).name})")
    if status < 0:
        raise DecoderFailed(f"the process that decodes was killed ({signal.Signals(-status).name})")
    raise CorruptAudio(f"the decoder gave up on this file ({answer.get('raised', status)})")


def _environment() -> dict[str, str]:
    """What the interpreter needs to start, and nothing of ours that is secret; the process forgets it at once."""
    return {**_THREADS, "LD_BIND_NOW": "1", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
