"""`murmur transcribe`: files in, transcripts out, several at a time, with a bar for each."""

import contextlib
import json
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from murmur.client.client import Client
from murmur.client.responses import ApiError, JobEnded, RemoteJob
from transcription.formats import EXTENSIONS
from transcription.job import Status
from transcription.options import ResponseFormat

AT_ONCE = 4
EACH_S = 0.5


@dataclass(slots=True)
class Transcriber:
    """
    Transcribes files through one platform.

    Args:
        client: The platform.
        format: Shape of the transcripts.
        options: What else the API takes.
        progress: Where the bars are.
    """

    client: Client
    format: ResponseFormat
    options: dict[str, Any]
    progress: Progress
    _unfinished: set[str] = field(default_factory=set)
    _stopped: threading.Event = field(default_factory=threading.Event)

    def transcribe(self, path: Path) -> str:
        """The transcript of one file. ApiError, JobEnded, OSError."""
        task = self.progress.add_task("sending", name=path.name, total=max(1, path.stat().st_size))
        try:
            with self.progress.open(path, "rb", task_id=task) as file:
                job = self.client.submit(file, **self.options)
            self._unfinished.add(job.id)
            job = self._follow(job, task)
            result = self.client.result(job.id, self.format.value)
        except BaseException:
            self.progress.update(task, description="[red]failed")
            raise
        self.progress.update(task, description="cached" if job.cached else "done", completed=1, total=1)
        return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, indent=2) + "\n"

    def stop(self) -> None:
        """Give up what isn't finished."""
        self._stopped.set()
        for job_id in tuple(self._unfinished):
            with contextlib.suppress(ApiError):
                self.client.cancel(job_id)

    def _follow(self, job: RemoteJob, task: TaskID) -> RemoteJob:
        while not job.status.terminal and not self._stopped.is_set():
            self.progress.update(task, description=stage(job), total=1, completed=job.progress.fraction)
            job = self.client.job(job.id, wait=EACH_S)
        self._unfinished.discard(job.id)
        if job.status is not Status.COMPLETED:
            raise JobEnded(job)
        return job


def transcribe(
    client: Client,
    paths: Sequence[Path],
    *,
    format: ResponseFormat,  # noqa: A002  the API's word
    options: dict[str, Any],
    output_dir: Path | None,
    console: Console,
) -> int:
    """
    Transcribe *paths*, and write the transcripts to *output_dir*, or to standard output in the order of the paths.

    Args:
        client: The platform.
        paths: The recordings.
        format: Shape of the transcripts.
        options: What else the API takes.
        output_dir: Made if it isn't there.
        console: Standard error, for bars and failures.

    Returns:
        How many files failed; a sentence about each is on *console*.
    """
    failed = 0
    with bars(console) as progress, ThreadPoolExecutor(AT_ONCE) as pool:
        transcriber = Transcriber(client, format, options, progress)
        futures = [pool.submit(transcriber.transcribe, path) for path in paths]
        try:
            for path, target, future in zip(paths, targets(paths, format, output_dir), futures, strict=True):
                try:
                    write(future.result(), path, target, several=len(paths) > 1)
                except (ApiError, JobEnded, OSError) as error:
                    failed += 1
                    console.print(f"murmur: {path}: {error}", markup=False, highlight=False, soft_wrap=True)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            transcriber.stop()
            raise
    return failed


def bars(console: Console) -> Progress:
    """A bar for each file; nothing where nobody watches."""
    return Progress(
        TextColumn("{task.fields[name]}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def stage(job: RemoteJob) -> str:
    """What a job is doing, in a word or three."""
    if job.status is Status.PROCESSING:
        return "transcribing"
    position = job.queue.position if job.queue else None
    return f"waiting, number {position}" if position else "waiting"


def targets(paths: Sequence[Path], form: ResponseFormat, directory: Path | None) -> list[Path | None]:
    """
    Where each transcript goes: named after its recording, with the whole name where two stems are the same, and a
    number where even that isn't enough. No two are the same.
    """
    if directory is None:
        return [None] * len(paths)
    stems = Counter(path.stem for path in paths)
    names: list[str] = []
    for path in paths:
        wanted = path.stem if stems[path.stem] == 1 else path.name
        numbered = (f"{wanted}-{number}" for number in count(2))
        names.append(next(name for name in chain([wanted], numbered) if name not in names))
    return [directory / f"{name}.{EXTENSIONS[form]}" for name in names]


def write(text: str, path: Path, target: Path | None, *, several: bool) -> None:
    """Write one transcript to *target*, or to standard output, under its file's name if there are several. OSError."""
    if target is None:
        heading = f"==> {path} <==\n" if several else ""
        print(heading + text, end="" if text.endswith("\n") else "\n", flush=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
