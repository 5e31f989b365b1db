"""
A filter of system calls for this process: what isn't listed is refused by the kernel.

The filter is a small program for the kernel (classic BPF), made here because it needs no library and no privilege. It
knows two machines, x86-64 and 64-bit ARM; a call by another machine's numbers kills the process.
"""

import ctypes
import errno
import os
import platform
import struct
from functools import cache
from typing import NamedTuple

from transcription.media.libc import prctl

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_NR, _ARCH, _ARGUMENTS = 0, 4, 16
_CLONE_THREAD = 0x10000
_PROT_EXEC = 4


class _Machine(NamedTuple):
    audit: int
    column: int


_MACHINES = {"x86_64": _Machine(0xC000003E, 0), "aarch64": _Machine(0xC00000B7, 1)}

# What computing, memory, threads of one's own, and open files need: numbers on x86-64 and on ARM.
_ALLOWED = {
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "fstat": (5, 80), "lseek": (8, 62), "munmap": (11, 215),
    "brk": (12, 214), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "pread64": (17, 67), "pwrite64": (18, 68), "readv": (19, 65), "writev": (20, 66), "sched_yield": (24, 124),
    "mremap": (25, 216), "madvise": (28, 233), "nanosleep": (35, 101), "getpid": (39, 172), "exit": (60, 93),
    "ftruncate": (77, 46), "gettimeofday": (96, 169), "getrusage": (98, 165), "sysinfo": (99, 179),
    "sigaltstack": (131, 132), "gettid": (186, 178), "futex": (202, 98), "sched_getaffinity": (204, 123),
    "restart_syscall": (219, 128), "clock_gettime": (228, 113), "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115), "exit_group": (231, 94), "set_robust_list": (273, 99), "getrandom": (318, 278),
    "membarrier": (324, 283), "rseq": (334, 293),
}  # fmt: skip
_MEMORY = {"mmap": (9, 222), "mprotect": (10, 226)}
_SIGNALS = {"kill": (62, 129), "tgkill": (234, 131)}
_CLONE, _CLONE3, _FCNTL = (56, 220), (435, 435), (72, 25)
_FCNTL_LOOKS = (1, 3)  # F_GETFD, F_GETFL
_ITSELF = 0x7FFF_FFFE  # more than a process's number can be


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))


def install() -> bool:
    """Refuse this process everything but the listed calls, for good; False where the kernel has no such filters."""
    written = program_for(platform.machine())
    if not written:
        return False
    code = ctypes.create_string_buffer(written.replace(_is(_ITSELF), _is(os.getpid())))
    program = _Program(ctypes.sizeof(code) // 8, ctypes.addressof(code))
    return bool(prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0) == 0)


@cache
def program_for(name: str) -> bytes:
    """
    The filter for a machine of this name, empty for one that it doesn't know; in it `_ITSELF` stands for the process.

    Who calls it before a fork spares each child the writing.
    """
    machine = _MACHINES.get(name)
    if machine is None:
        return b""
    at = machine.column
    steps = [_step(_LOAD, _ARCH), _step(_EQUAL, machine.audit, yes=1), _step(_RETURN, _KILL), _step(_LOAD, _NR)]
    for numbers in _ALLOWED.values():
        steps += [_step(_EQUAL, numbers[at], no=1), _step(_RETURN, _ALLOW)]
    # No memory that was written may be run.
    for numbers in _MEMORY.values():
        steps += _by_argument(numbers[at], 2, _step(_ANY_BIT, _PROT_EXEC, yes=1))
    # Signals to oneself, as abort() sends them.
    for numbers in _SIGNALS.values():
        steps += _by_argument(numbers[at], 0, _is(_ITSELF))
    # Threads, no processes; what can't be judged by a number isn't there, so that the C library takes the other.
    steps += _by_argument(_CLONE[at], 0, _step(_ANY_BIT, _CLONE_THREAD, no=1))
    steps += [_step(_EQUAL, _CLONE3[at], no=1), _step(_RETURN, _ERRNO | errno.ENOSYS)]
    for look in _FCNTL_LOOKS:
        steps += _by_argument(_FCNTL[at], 1, _step(_EQUAL, look, no=1), last=False)
    return b"".join([*steps, _step(_RETURN, _ERRNO | errno.EPERM)])


def _is(process: int) -> bytes:
    return _step(_EQUAL, process, no=1)


def _by_argument(number: int, argument: int, test: bytes, *, last: bool = True) -> list[bytes]:
    """Steps that allow call *number* where *test* of its argument leads to the next step, and refuse it elsewhere."""
    refused = _step(_RETURN, _ERRNO | errno.EPERM) if last else _step(_LOAD, _NR)
    inner = [_step(_LOAD, _ARGUMENTS + 8 * argument), test, _step(_RETURN, _ALLOW), refused]
    return [_step(_EQUAL, number, no=len(inner)), *inner]


def _step(code: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)
