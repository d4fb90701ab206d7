"""The one decorator of the simulators' compiled functions.

The functions it marks work on bare numbers and flat sequences with ``math`` alone. Where numba is installed they are
compiled; on a gateway without numba they run as written, with the same numbers.
"""

import functools
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


def _wrap64(x: int) -> int:
    return x & 0xFFFFFFFFFFFFFFFF


try:
    import numba
    from numba.core.caching import InTreeCacheLocator
except ImportError:  # a gateway: base dependencies only
    COMPILED = False

    def kernel(function: F) -> F:
        """Leave ``function`` as it is: numba is not installed."""
        return function

else:
    COMPILED = not vars(numba.config)["DISABLE_JIT"]

    class ImportsLocator(InTreeCacheLocator):
        """Keeps compiled code in ``__pycache__`` until the function's file changes, or one that it imports.

        numba itself looks only at the file of the function, and would run old code of the functions that it calls.
        """

        def get_source_stamp(self) -> str:
            """Digest of the function's module and of the modules of this package that it imports, and they, and so on."""
            return _digest(Path(self._py_file))

    @functools.cache
    def _digest(file: Path) -> str:
        digest, todo, seen = hashlib.sha256(), [file.name], {file.name}
        while todo:
            text = (file.parent / todo.pop()).read_text(encoding="utf-8")
            digest.update(text.encode())
            found = re.findall(rf"^from {__package__}(?:\.| import )(\w+)", text, re.MULTILINE)
            names = {f"{name}.py" for name in found}
            todo += sorted(names - seen, reverse=True)
            seen |= names
        return digest.hexdigest()

    def kernel(function: F) -> F:
        """Compile ``function``: cached on disk, no GIL, IEEE semantics (no fastmath), so the same seed gives the same bytes."""
        compile_: Callable[[F], Any] = numba.njit(cache=True, error_model="numpy", nogil=True, fastmath=False)
        settings = vars(numba.config)
        before = settings["CACHE_LOCATOR_CLASSES"]
        settings["CACHE_LOCATOR_CLASSES"] = f"{__name__}.ImportsLocator,UserWideCacheLocator"
        try:
            return cast(F, compile_(function))
        finally:
            settings["CACHE_LOCATOR_CLASSES"] = before


# The low 64 bits, unsigned, in compiled and in plain code.
u64 = cast(Callable[[int], int], numba.uint64) if COMPILED else _wrap64
