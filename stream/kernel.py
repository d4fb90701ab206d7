"""The decorators of every compiled function."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])
_NJIT: Final[Any] = numba.njit  # its types do not know _nrt


def kernel(function: F) -> F:
    """Compile ``function`` with numba: cached on disk, IEEE semantics (no fastmath), no GIL, division by zero gives inf or NaN.

    No fastmath and no parallel loop, so the same bytes come out on every run and with ``NUMBA_DISABLE_JIT=1``. It may not allocate:
    without reference counts of arrays a row costs a third less.
    """
    compiled: F = _NJIT(cache=True, error_model="numpy", nogil=True, fastmath=False, _nrt=False)(function)
    return compiled


def allocating_kernel(function: F) -> F:
    """Like ``kernel``, for one that makes arrays of its own."""
    compiled: F = _NJIT(cache=True, error_model="numpy", nogil=True, fastmath=False)(function)
    return compiled
