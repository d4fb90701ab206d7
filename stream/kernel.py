"""The one decorator of every compiled function."""

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numba

_OPTIONS: Final[dict[str, Any]] = {
    "cache": True,
    "error_model": "numpy",
    "nogil": True,
    "fastmath": False,
    "_nrt": False,
}
JIT_OFF: Final = bool(vars(numba.config)["DISABLE_JIT"])  # kernels run as they stand, in Python
F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile ``function`` with numba: cached on disk, IEEE semantics (no fastmath), no GIL, division by zero gives inf or NaN.

    No fastmath and no parallel loop, so the same bytes come out on every run and with ``NUMBA_DISABLE_JIT=1``. No reference counts
    (``_nrt=False``): every array given to a function costs two atomic additions otherwise, more than the physics of a row. So a kernel
    writes into arrays that it is given, and makes none; one that does fails to compile.
    """
    return cast(F, numba.njit(**_OPTIONS)(function))


def inlined(function: F) -> F:
    """``kernel`` that becomes part of every kernel that calls it: for what runs in each row and is called from one or two places.

    A call costs a few nanoseconds where arrays or many numbers are handed over. What runs rarely stays a call, so that the loop
    over rows stays small.
    """
    return cast(F, numba.njit(**_OPTIONS, forceinline=True)(function))
