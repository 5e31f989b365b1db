"""What tests ask of processes that may end while they ask."""

import os

import psutil


def runs(process: psutil.Process) -> bool:
    """Whether *process* lives; one that only waits to be reaped doesn't."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def command(process: psutil.Process) -> str:
    """What *process* was started with; nothing where it has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def group_alive(group: int) -> bool:
    """Whether any process of the group runs."""
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and runs(process):
                return True
        except (ProcessLookupError, PermissionError):
            continue
    return False
