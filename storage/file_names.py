"""Which commits the rows of a file come from: it stands in the file's name.

``000000000123-<attempt>`` is commit 123's own; ``merged-000000000120-000000000180-<id>`` was made of files of commits 120 to
180, ``rebuilt-...`` of the raw readings of these. ``hours-000000000180-2-<id>`` sums up the rollups of its partition that came with
commits up to 180, and the 2 rebuilt files that were there.
"""

import re
import uuid
from typing import Final

MERGED: Final = "merged"
REBUILT: Final = "rebuilt"
HOURS: Final = "hours"
_OWN: Final = re.compile(r"(\d{12,})-")
_HOURS: Final = re.compile(r"hours-(\d{12,})-(\d+)-")
_RANGE: Final = re.compile(r"(?:merged|rebuilt)-(\d{12,})-(\d{12,})-")


def _name(path: str) -> str:
    return path.rpartition("/")[2]  # thousands of names a second: ten times quicker than a path


def commits_of(path: str) -> tuple[int, int] | None:
    """(first, last) commit whose rows the file at ``path`` may hold. None for a name that does not say: one from before names did."""
    name = _name(path)
    if own := _OWN.match(name):
        return int(own[1]), int(own[1])
    found = _RANGE.match(name)
    return (int(found[1]), int(found[2])) if found else None


def new_name(kind: str, first: int, last: int) -> str:
    """An unused name, without its ending."""
    return f"{kind}-{first:012d}-{last:012d}-{uuid.uuid4().hex}"


def is_rebuilt(path: str) -> bool:
    """Whether the file was made anew from raw, by a rebuild; such files are never merged."""
    return _name(path).startswith(f"{REBUILT}-")


def covered_by(path: str) -> tuple[int, int] | None:
    """(last commit, rebuilt files) that a file of hourly sums covers."""
    found = _HOURS.match(_name(path))
    return (int(found[1]), int(found[2])) if found else None


def hours_name(last: int, rebuilt: int) -> str:
    """An unused name of a file of hourly sums, without its ending."""
    return f"{HOURS}-{last:012d}-{rebuilt}-{uuid.uuid4().hex}"
