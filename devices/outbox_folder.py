"""The outbox of a gateway as its configuration says: on a disk, or in memory where no disk is named or none works."""

import os
from dataclasses import dataclass
from pathlib import Path

from devices.config import ConfigError, GatewayConfig, Loaded
from devices.disk import FolderDisk
from devices.entries import Recovered
from devices.envelope import Sign
from devices.ring import Ring
from devices.signing import MissingPackageError, signer
from devices.store import memory_ring


@dataclass(frozen=True, slots=True)
class Opened:
    """The outbox, what it held, and what a person should know of it, blank if nothing."""

    ring: Ring
    recovered: Recovered | None
    warning: str = ""


def outbox_folder(loaded: Loaded) -> Path | None:
    """Where the outbox lies; None = memory."""
    if loaded.gateway.outbox.folder:
        return loaded.base / loaded.gateway.outbox.folder
    state = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return Path(state) / "outbox" if state else None


def batch_signer(loaded: Loaded) -> Sign | None:
    """What signs batches; None without a key. ConfigError if the key cannot be used."""
    name = loaded.gateway.batch_key
    if not name:
        return None
    credentials = os.environ.get("CREDENTIALS_DIRECTORY", "")
    handed = Path(credentials) / name if credentials else None
    path = handed if handed is not None and handed.is_file() else loaded.base / name
    try:
        return signer(path)
    except (OSError, ValueError, MissingPackageError) as error:
        raise ConfigError(loaded.where, "batch_key", f"{error}; enrol makes one") from None


def open_outbox(config: GatewayConfig, folder: Path | None, sign: Sign | None) -> Opened:
    """Open the outbox and take in what earlier starts left. A disk that cannot be used is said, and memory stands in.

    Raises OSError if another gateway uses the folder: two with one outbox would send each other's readings.
    """
    if folder is None:
        return Opened(memory_ring(config, sign), None)
    size = config.outbox.segment_kib * 1024
    wanted = max(4, config.outbox.max_mib * 2**20 // size)
    try:
        disk = FolderDisk(folder, wanted, size)
        ring = Ring(disk, device=config.device, tenant=config.tenant, sign=sign)
        recovered = ring.recover()
    except BlockingIOError:
        raise
    except (OSError, ValueError) as error:
        text = f"{folder}: {error}; readings are kept in memory only, and end with this process"
        return Opened(memory_ring(config, sign), None, text)
    warning = ""
    if disk.segments < wanted:
        warning = f"{folder}: the disk has room for {disk.segments} of {wanted} segments only; free some, then restart"
    return Opened(ring, recovered, warning)
