"""The one decorator of every compiled function."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile ``function`` with numba: cached on disk, IEEE semantics (no fastmath), no GIL, division by zero gives inf or NaN.

    No fastmath and no parallel loop, so the same bytes come out on every run and with ``NUMBA_DISABLE_JIT=1``.
    """
    compile_: Callable[[F], Any] = numba.njit(cache=True, error_model="numpy", nogil=True, fastmath=False, _nrt=False)
    return cast(F, compile_(function))
