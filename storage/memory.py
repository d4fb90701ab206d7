"""Memory of a process that makes and frees the same large arrays again and again."""

import ctypes
from typing import Any, Final

_MMAP_THRESHOLD: Final = -3  # numbers of glibc's mallopt
_TRIM_THRESHOLD: Final = -1
LARGEST: Final = 1 << 30  # bytes of one array that is made of memory freed before
KEPT: Final = 1 << 29  # bytes of freed memory that are kept at most


def keep_freed_memory() -> None:
    """Have the C library keep what arrays leave for the next ones, where it is glibc; elsewhere nothing happens.

    Else each large array is fetched from the kernel, which clears it page by page: a tenth to a fifth of a commit's CPU time.
    """
    mallopt: Any = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, LARGEST)
        mallopt(_TRIM_THRESHOLD, KEPT)
