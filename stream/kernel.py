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
F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile ``function`` with numba: cached on disk, IEEE semantics (no fastmath), no GIL, division by zero gives inf or NaN.

    No fastmath and no parallel loop, so the same bytes come out on every run and with ``NUMBA_DISABLE_JIT=1``. No reference counts
    (``_nrt=False``): every array given to a function costs two atomic additions otherwise, more than the physics of a row. So a kernel
    writes into arrays that it is given, and makes none; one that does fails to compile.
    """
    return cast(F, numba.njit(**_OPTIONS)(function))
