"""Threads that a worker can't do without: when one dies, the process does, and its supervisor starts it again."""

import faulthandler
import os
import threading

import structlog

log = structlog.get_logger()

EXIT_THREAD_DIED = 73


def watch() -> None:
    """
    End the process, with the reason in the log, when any thread of it ends by an error from now on.

    A fatal signal, as SIGABRT from the health check, writes where each thread is.
    """
    faulthandler.enable()
    threading.excepthook = _end_process


def _end_process(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is SystemExit:
        return
    name = args.thread.name if args.thread else "unknown"
    log.critical("a thread died; the process exits", thread=name, exc_info=args.exc_value)
    os._exit(EXIT_THREAD_DIED)
