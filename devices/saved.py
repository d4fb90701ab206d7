"""Small state that must outlive the gateway: one JSON file, replaced as a whole."""

import os
from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)


class SavedError(OSError):
    """A state file that is there but cannot be used; going on without it would count from 0 again."""


def load(path: Path, of: type[T]) -> T | None:
    """What was saved, None if there never was anything. SavedError if it cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=of)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SavedError(f"{path} cannot be used ({error}); mend it, or remove it to begin anew") from None


def save(path: Path, what: msgspec.Struct) -> None:
    """Replace the file: after a power cut it holds the old or the new, whole. OSError if the disk refuses."""
    new = path.with_name(f".{path.name}.new")
    with new.open("wb") as file:
        file.write(msgspec.json.encode(what))
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
