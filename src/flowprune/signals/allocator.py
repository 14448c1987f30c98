"""A switch for glibc's allocator that makes CPU passes with large temporaries faster."""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def keep_memory() -> bool:
    """Let this process keep freed blocks instead of returning them to the system; for the rest of its life.

    By default glibc hands a large block back on every free and has its pages faulted in again at the next
    allocation, which can cost more than filling it. Programs that own their process may call this once at their
    start. The price is that memory stays with the process. A library must not decide that, so nothing here calls it;
    ``python benchmarks/signals.py --keep-memory`` shows what it is worth on a machine.

    Returns:
        Whether the setting was made: only with glibc.

    Example, at the start of a program::

        from flowprune.signals.allocator import keep_memory

        keep_memory()
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    return bool(libc.mallopt(M_MMAP_MAX, 0)) and bool(libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
