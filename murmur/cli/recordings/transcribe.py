"""`murmur transcribe`: recordings in, transcripts out, several at a time, with a bar for each."""

import contextlib
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from murmur.cli.json_output import print_json
from murmur.cli.recordings import outputs
from murmur.cli.recordings.failures import Failure
from murmur.cli.recordings.formats import Format
from murmur.cli.recordings.inputs import Source
from murmur.client.client import Client
from murmur.client.errors import ApiError, ended
from murmur.client.responses import RemoteJob, Status
from murmur.client.uploads import as_text
from murmur.errors import CliError

AT_ONCE = 4
HELD_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    How recordings are transcribed.

    ``directory`` None: to standard output. ``root``: recordings below it keep their place and whole name below
    ``directory``, so that those that come later can't meet a name that is taken.
    """

    formats: tuple[Format, ...]
    options: dict[str, Any]
    directory: Path | None = None
    file: Path | None = None
    root: Path | None = None
    overwrite: bool = False
    resume: bool = False
    wait: bool = True
    live: bool = False
    as_json: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """One recording with the files that come of it; none: standard output."""

    source: Source
    targets: dict[Format, Path]


@dataclass(slots=True)
class Transcriber:
    """Transcribes recordings through one platform."""

    client: Client
    plan: Plan
    progress: Progress
    several: bool
    ledger: outputs.Ledger = field(default_factory=outputs.Ledger)
    unfinished: dict[str, str] = field(default_factory=dict)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _printing: threading.Lock = field(default_factory=threading.Lock)
    _warned: bool = False

    def transcribe(self, task: Task) -> None:
        """Do one recording; its transcripts are written when this returns. ApiError, JobEnded, CliError, OSError."""
        digests = {form: outputs.digest(task.source, self.plan.options, form) for form in task.targets}
        missing = self._missing(task, digests)
        if task.targets and not missing:
            self._report(task, None, note="done before")
            return
        bar = self.progress.add_task("sending", name=task.source.name, total=None)
        try:
            job = self._job(task, missing, digests, bar)
            if not self.plan.wait:
                self._report(task, job, note="submitted")
                self.unfinished.pop(job.id, None)
                return
            job = self._follow(job, bar)
            self._warn(task, job)
            self._write(task, job, missing or list(self.plan.formats), digests)
        except BaseException:
            self.progress.update(bar, description="[red]failed")
            raise
        self.progress.update(bar, description="cached" if job.cached else "done", completed=1, total=1)

    def _warn(self, task: Task, job: RemoteJob) -> None:
        """A line for each thing that the transcript lacks: on standard error, so that the text stays the text."""
        for warning in job.warnings:
            say(self.progress.console, f"{task.source.name}: warning: {warning}")

    def stop(self) -> None:
        """Give up what isn't finished; an upload that is under way ends at its next piece."""
        self._stopped.set()
        for job_id in tuple(self.unfinished):
            self._give_up(job_id)

    def _give_up(self, job_id: str) -> None:
        name = self.unfinished.pop(job_id, None)
        if name is not None:
            with contextlib.suppress(ApiError):
                self.client.cancel(job_id)
            say(self.progress.console, f"{name}: gave up job {job_id}")

    def _missing(self, task: Task, digests: dict[Format, str]) -> list[Format]:
        """The formats that are to be written. CliError: something else is in their place."""
        if self.plan.overwrite:
            return list(task.targets)
        missing = [form for form, target in task.targets.items() if not self.ledger.holds(target, digests[form])]
        for form in missing:
            begun = self.plan.resume and self.ledger.job(task.targets[form], digests[form])
            if task.targets[form].exists() and not begun:
                raise CliError(f"{task.targets[form]} is there already; --overwrite replaces it", status=1)
        return missing

    def _job(self, task: Task, missing: list[Format], digests: dict[Format, str], bar: TaskID) -> RemoteJob:
        """The job of an earlier run with --resume, else a new one."""
        job = self._earlier(task, digests) if self.plan.resume else None
        if job is None:

            def sent(so_far: int, total: int | None) -> None:
                if self._stopped.is_set():
                    raise CliError("interrupted")
                self.progress.update(bar, completed=so_far, total=total)

            name = "stdin" if isinstance(task.source.audio, bytes) else None
            job = self.client.submit(task.source.audio, progress=sent, filename=name, **self.plan.options)
        # First it is there for `stop` to find, then this looks whether `stop` has come: one of them gives it up.
        self.unfinished[job.id] = job.audio.filename
        if self._stopped.is_set():
            self._give_up(job.id)
            raise CliError("interrupted")
        for form in missing:
            self.ledger.note(task.targets[form], digests[form], job.id, written=False)
        self._warn_of_toy(job)
        return job

    def _warn_of_toy(self, job: RemoteJob) -> None:
        """Say, once, that a toy answers for the model that was asked for."""
        asked = self.plan.options.get("model")
        with self._printing:
            if job.model == "demo" and asked not in (None, "demo") and not self._warned:
                self._warned = True
                sentence = f"the built-in demo model, a toy, answers for {asked}: real speech comes as nonsense"
                say(self.progress.console, sentence)

    def _earlier(self, task: Task, digests: dict[Format, str]) -> RemoteJob | None:
        for form, target in task.targets.items():
            job_id = self.ledger.job(target, digests[form])
            if job_id:
                with contextlib.suppress(ApiError):
                    job = self.client.job(job_id)
                    return job if not job.status.terminal or job.status is Status.COMPLETED else None
        return None

    def _follow(self, job: RemoteJob, bar: TaskID) -> RemoteJob:
        if self.plan.live:
            for event in self.client.events(job.id):
                if event.type == "segment":
                    print(str(event.data["text"]).strip(), flush=True)
            job = self.client.job(job.id)
        while not job.status.terminal and not self._stopped.is_set():
            self.progress.update(bar, description=stage(job), total=1, completed=job.progress.fraction)
            job = self.client.job(job.id, wait=HELD_S)
        self.unfinished.pop(job.id, None)
        if job.status is not Status.COMPLETED:
            raise ended(job)
        return job

    def _write(self, task: Task, job: RemoteJob, formats: Sequence[Format], digests: dict[Format, str]) -> None:
        texts = {form: form.written(self.client.result(job.id, form.value)) for form in formats}
        if not task.targets:
            self._print(task, job, texts)
            return
        for form, text in texts.items():
            outputs.write(task.targets[form], text)
            self.ledger.note(task.targets[form], digests[form], job.id, written=True)
        self._report(task, job, note="done")

    def _print(self, task: Task, job: RemoteJob, texts: dict[Format, str]) -> None:
        if self.plan.live:
            return
        if self.plan.as_json:
            self._report(task, job, note="done", text=next(iter(texts.values())))
            return
        with self._printing:
            for text in texts.values():
                sys.stdout.write(f"==> {task.source.name} <==\n{text}" if self.several else text)
            sys.stdout.flush()

    def _report(self, task: Task, job: RemoteJob | None, *, note: str, **more: str) -> None:
        """Say what became of one recording, to programs; to people only where there is nothing else to see."""
        with self._printing:
            if self.plan.as_json:
                files = [as_text(str(target)) for target in task.targets.values()]
                shape = {"source": task.source.name, "job": job and job.id, "outcome": note, "files": files, **more}
                print_json(shape)
            elif job is not None and not self.plan.wait:
                print(f"{job.id}  {task.source.name}", flush=True)


def transcribe(client: Client, sources: Sequence[Source], plan: Plan, console: Console) -> list[Failure]:
    """
    Transcribe *sources*, each written the moment it is done.

    Args:
        client: The platform.
        sources: The recordings.
        plan: How, and where to.
        console: Standard error, for bars and failures.

    Returns:
        What failed, in the order of *sources*; a sentence about each is on *console*.
    """
    tasks = planned(sources, plan)
    failures: dict[int, Failure] = {}
    with bars(console) as progress, ThreadPoolExecutor(AT_ONCE) as pool:
        transcriber = Transcriber(client, plan, progress, several=len(tasks) > 1)
        futures = {pool.submit(transcriber.transcribe, task): at for at, task in enumerate(tasks)}
        try:
            for future in as_completed(futures):
                if error := future.exception():
                    at = futures[future]
                    failures[at] = Failure(sources[at], error)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            transcriber.stop()
            raise
    failed = [failures[at] for at in sorted(failures)]
    for failure in failed:
        say(console, str(failure))
    for job_id, name in transcriber.unfinished.items():
        say(console, f"{name}: its job goes on where the platform does; `murmur result {job_id}` takes the transcript")
    return failed


def planned(sources: Sequence[Source], plan: Plan) -> list[Task]:
    """Every recording with its files, no name twice."""
    if plan.file is not None:
        return [Task(source, {plan.formats[0]: plan.file}) for source in sources]
    if plan.directory is None:
        return [Task(source, {}) for source in sources]
    names = outputs.stems(sources) if plan.root is None else [_below(source, plan.root) for source in sources]
    return [
        Task(source, {form: plan.directory / f"{name}.{form.extension}" for form in plan.formats})
        for source, name in zip(sources, names, strict=True)
    ]


def _below(source: Source, root: Path) -> str:
    return source.path.relative_to(root.as_posix()).as_posix()


def bars(console: Console) -> Progress:
    """A bar for each file; nothing where nobody watches."""
    return Progress(
        TextColumn("{task.fields[name]}", markup=False),
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


def say(console: Console, sentence: str) -> None:
    """A line for people, as it is."""
    console.print(as_text(f"murmur: {sentence}"), markup=False, highlight=False, soft_wrap=True)
