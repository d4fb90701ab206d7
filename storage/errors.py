"""What can go wrong with a lake: faults of the disk and of other processes, never of the data.

StorageError
├── LakeMissingError    there is no lake at that path
├── LakeBusyError       another process writes (or compacts) this lake
└── LakeInDoubtError    whether the newest commit stands is not known: open the lake again and recover
"""

from pathlib import Path


class StorageError(Exception):
    """The disk or the table log refused. ``path`` names where. The lake is as it was before the call."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path = path
        self.what = what


class LakeMissingError(StorageError):
    """There is no lake at ``path``."""


class LakeBusyError(StorageError):
    """Another process holds the lock of this lake."""


class LakeInDoubtError(StorageError):
    """The newest commit may or may not stand. The handle takes no more commits; a new one finds out and recovers."""
