"""What `celery inspect`, `celery control` and Flower may ask of a worker, beside what Celery itself answers."""

from typing import Any

from celery.worker.control import control_command, inspect_command, nok, ok

from transcription.errors import LedgerUnavailable

_REFUSED = {
    "pool_grow": "a worker's threads are set by MURMUR_WORKER__SLOTS; start more workers instead",
    "pool_shrink": "a worker's threads are set by MURMUR_WORKER__SLOTS; stop a worker instead",
    "pool_restart": "the pool holds a model and leases; restart the worker: its spans go back at once",
    "autoscale": "a worker's threads are set by MURMUR_WORKER__SLOTS; scale the number of workers",
    "rate_limit": "rates are limited for clients (MURMUR_SECURITY__TIERS), not for tasks",
    "time_limit": "threads can't be interrupted; MURMUR_LEASE__STALL_S ends what makes no progress",
    "revoke_by_stamped_headers": "tasks carry no stamps; revoke a task by its id, or cancel its job",
}


def install(runtime: Any) -> None:
    """Register the commands; *runtime* gives the process's runtime when one comes."""

    @inspect_command(name="spans")  # type: ignore[untyped-decorator]
    def spans(state: Any, **_: Any) -> list[dict[str, Any]]:  # noqa: ARG001
        """The spans in work: job, span, age, progress."""
        return runtime().in_work()  # type: ignore[no-any-return]

    @control_command(name="revoke", variadic="task_id", signature="[id1 [id2 [... [idN]]]]")  # type: ignore[untyped-decorator]
    def revoke(state: Any, task_id: Any, **_: Any) -> Any:  # noqa: ARG001
        """Cancel the jobs of these tasks: a task's id begins with its job's."""
        ids = [task_id] if isinstance(task_id, str) else list(task_id or [])
        try:
            found = {one: runtime().cancel(one.partition("-")[0]) for one in ids}
        except LedgerUnavailable as error:
            return nok(error.message)
        unknown = [one for one, answer in found.items() if answer == "unknown"]
        if unknown:
            return nok(f"no job for {', '.join(unknown)}; the others: {found}")
        return ok(f"canceled: {found}")

    for name, reason in _REFUSED.items():
        control_command(name=name)(_refusal(reason))


def _refusal(reason: str) -> Any:
    def refuse(state: Any, **_: Any) -> Any:  # noqa: ARG001
        """Refused: this platform has another way."""
        return nok(reason)

    return refuse
