"""Files made beside the writer, which its next commit takes up: so there is one committer, whoever has made the files.

``adopt/<id>.json`` lists files that lie in their tables' folders, synced, and that nothing names yet. The writer names them in the
record of its next commit, with the id, and removes the list. ``upto`` is the newest commit whose readings the files rest on: from
then on no compaction merges files across it, so that later results can begin where these end.
"""

import uuid
from pathlib import Path
from typing import Final

import msgspec

from storage.disk import Disk
from storage.errors import StorageError
from storage.ledger import FileEntry

FOLDER: Final = "adopt"


class Offer(msgspec.Struct, frozen=True):
    """Files to take up; without any it only keeps commits up to ``upto`` apart from later ones."""

    files: tuple[FileEntry, ...]
    upto: int


def offer(lake: Path, files: tuple[FileEntry, ...], upto: int, disk: Disk) -> str:
    """Offer ``files`` to the writer; gives the id. Raises OSError."""
    name = uuid.uuid4().hex
    folder = lake / FOLDER
    disk.make_dir(folder)
    disk.write(folder / f"{name}.tmp", folder / f"{name}.json", msgspec.json.encode(Offer(files, upto)))
    disk.sync(folder)
    return name


def offers(lake: Path, known: frozenset[str]) -> dict[str, Offer]:
    """Offers that are not among ``known``, by id. Raises StorageError for one that cannot be read."""
    folder = lake / FOLDER
    found: dict[str, Offer] = {}
    if not folder.is_dir():
        return found
    for path in sorted(folder.glob("*.json")):
        if path.stem not in known:
            try:
                found[path.stem] = msgspec.json.decode(path.read_bytes(), type=Offer)
            except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as e:
                raise StorageError(path, f"cannot be read: {e}; remove it and make the results again") from e
    return found


def withdraw(lake: Path, name: str, disk: Disk) -> None:
    """Remove an offer, taken up or not. Raises OSError."""
    disk.remove(lake / FOLDER / f"{name}.json")
