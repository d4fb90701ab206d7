"""What the gateways of a fault run sampled, kept apart from the code under test.

One file a start of a gateway, ``<device>.<boot_id>``, of records of 40 bytes: each sample before it is handed over, and how
many of them the gateway has told to be on its disk. It is written with os.write, so kill -9 takes nothing of it.
"""

import os
import struct
from pathlib import Path
from typing import Final

RECORD: Final = struct.Struct("<QQqqq")  # kind, number, time_ns, odometer_m, wall clock when it was written
SAMPLE, DURABLE, ENDED = 1, 2, 3
METRES: Final = 5  # of the odometer between two readings: a J1939 step
MILLILITRES: Final = 3  # burnt between two readings


def fuel_ml_at(odometer_m: int) -> int:
    """The fuel counter that goes with an odometer [mL]. Takes arrays too."""
    return odometer_m // METRES * MILLILITRES


def rpm_eighths_at(odometer_m: int) -> int:
    """The engine speed that goes with an odometer [1/8 per minute], another one for each. Takes arrays too."""
    return odometer_m // METRES * 7_001 % 7_919


class Ledger:
    """The ledger of one start of a gateway, as it is written."""

    def __init__(self, folder: Path, device: str, boot_id: int) -> None:
        self._fd = os.open(folder / f"{device}.{boot_id}", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL, 0o644)

    def sampled(self, seq: int, time_ns: int, odometer_m: int, taken_ns: int) -> None:
        """A sample is about to be handed over."""
        os.write(self._fd, RECORD.pack(SAMPLE, seq, time_ns, odometer_m, taken_ns))

    def durable(self, n: int, taken_ns: int) -> None:
        """The gateway says that the first ``n`` samples are on its disk."""
        os.write(self._fd, RECORD.pack(DURABLE, n, 0, 0, taken_ns))

    def ended(self, n: int, taken_ns: int) -> None:
        """The gateway ended by itself: ``n`` samples are confirmed or on its disk."""
        os.write(self._fd, RECORD.pack(ENDED, n, 0, 0, taken_ns))
        os.close(self._fd)


def sampled_between(folder: Path, begin_ns: int, end_ns: int) -> int:
    """Samples that all gateways took between two moments of the wall clock."""
    found = 0
    for path in folder.iterdir():
        data = path.read_bytes()
        records = RECORD.iter_unpack(data[: len(data) // RECORD.size * RECORD.size])
        found += sum(kind == SAMPLE and begin_ns <= at < end_ns for kind, _, _, _, at in records)
    return found


def last_metre(folder: Path, device: str) -> int:
    """The last odometer [m] that any start of ``device`` showed; 0 if none did."""
    newest = 0
    for path in folder.glob(f"{device}.*"):
        data = path.read_bytes()
        records = RECORD.iter_unpack(data[: len(data) // RECORD.size * RECORD.size])
        newest = max(newest, *(metre for kind, _, _, metre, _ in records if kind == SAMPLE), 0)
    return newest
