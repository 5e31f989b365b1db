"""
Fast matrices for MLX on Linux.

The wheel of MLX for Linux brings BLAS's reference implementation along, which is twenty times slower than need be.
CTranslate2's library has a fast one; made visible to all, it's found first. For tests: a Mac has its own.
"""

import ctypes
import os
import platform
import sys
from functools import cache
from pathlib import Path

import ctranslate2


@cache
def lend_mlx_fast_matrices() -> None:
    """Must be called before anything imports MLX, in the whole process; does nothing where it can't help."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return
    if "mlx.core" in sys.modules:
        raise RuntimeError("MLX was imported already, with its own matrices: the tests would take three times as long")
    folder = Path(ctranslate2.__file__).parent.with_name("ctranslate2.libs")
    for library in folder.glob("libctranslate2*"):
        lent = ctypes.CDLL(str(library), mode=os.RTLD_GLOBAL)
        lent.mkl_serv_set_num_threads(1)
