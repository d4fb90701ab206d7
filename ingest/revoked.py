"""Gateways that are refused from now on: a file of ids that is read again whenever it changes."""

import logging
from pathlib import Path
from typing import Final

from devices.config import ConfigError
from devices.wire import is_name

LOOK_S: Final = 2.0  # a stat of one file; an operator who revokes does not wait longer
_LOG: Final = logging.getLogger("fleetco2.ingest")


def read_revoked(path: Path) -> frozenset[str]:
    """The ids in ``path``, one a line; blank lines and what follows # are left out. ConfigError naming file and line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), "", f"cannot be read: {error}; an empty file revokes nobody") from None
    found = set()
    for number, line in enumerate(lines, 1):
        name = line.partition("#")[0].strip()
        if name and not is_name(name):
            raise ConfigError(str(path), f"line {number}", f"{name!r} is no device id: 3 to 40 of a-z, 0-9 and -")
        if name:
            found.add(name)
    return frozenset(found)


class RevokedList:
    """The file as it stands now. At the start it must be sound; later an unsound one is said once and the last sound one holds."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = _stamp(path)
        self.devices = read_revoked(path)
        self._looked_s = 0.0

    def look(self, now: float) -> bool:
        """Read the file again if it changed, every LOOK_S at most; whether ``devices`` may have changed. ``now``: monotonic [s]."""
        if now - self._looked_s < LOOK_S:
            return False
        self._looked_s = now
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self.devices = read_revoked(self._path)
        except ConfigError as error:
            _LOG.error("revoked_unreadable %s; the list as it was before holds", error)
            return False
        _LOG.warning("revoked_changed devices=%d", len(self.devices))
        return True


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when the file does; None if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
