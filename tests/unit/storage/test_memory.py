"""Keeping freed memory: asked for in a process of its own, where the kernel's count of pages fetched tells."""

import platform
import subprocess
import sys

import pytest

from tests.support import ROOT

PAGES = """
import resource, sys
from storage.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
import numpy as np
def work():
    for _ in range(40):
        a, b = np.ones(1 << 19), np.ones(1 << 19)  # 4 MB each, larger than what glibc keeps by itself at first
        c = np.ones(5 << 20)  # 40 MB: above the largest threshold that glibc finds by itself
        del a, b, c
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_large_arrays_are_made_of_memory_freed_before() -> None:
    fetched = {}
    for how in ("kept", "as it is"):
        command = [sys.executable, "-c", PAGES, how]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True, env={"NUMPY_MADVISE_HUGEPAGE": "0"}
        )
        fetched[how] = int(done.stdout)
    assert fetched["kept"] * 20 < fetched["as it is"]
