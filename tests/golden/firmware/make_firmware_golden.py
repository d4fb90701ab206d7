"""Writes golden vectors that are not there yet: ``python -m tests.golden.firmware.make_firmware_golden``. Never changes one.

A vector is ``<name>.bin`` and ``<name>.json``: SHA-256 of the bytes, what they are ("frames" on the line, "down" = the
gateway's frame, "flash" = a node's memory), and what any later reader must find in them, typed here and not read back.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from devices.firmware import framing, record
from devices.firmware.hal_fake import FakeFlash, down_frame
from devices.firmware.ring import Ring
from devices.firmware.state import State

FOLDER = Path(__file__).parent
BOOT = 0x11223344
SECTOR, STATE_SECTORS, SECTORS = 256, 2, 6
Vector = tuple[str, str, bytes, Any]

TRUCKS: list[dict[str, Any]] = [
    {
        "fuel_total": 123_456_789,
        "odometer": 24_000_000,
        "fuel_rate": 360,
        "speed": 20_480,
        "rpm": 9_600,
        "gross_weight": 3_145,
        "load_kg": 12_340,
        "axle_kg": -15,
        "flags": record.BUS_ALIVE | record.LOAD_STABLE | record.TACHO_SPEED,
    },
    {
        "fuel_total": None,
        "odometer": None,
        "fuel_rate": None,
        "speed": None,
        "rpm": None,
        "gross_weight": None,
        "load_kg": None,
        "axle_kg": None,
        "flags": record.LOAD_FAULT | record.AXLE_FAULT | record.BUS_FAULT | record.AFTER_WATCHDOG,
    },
    {
        "fuel_total": 0xFAFFFFFF,
        "odometer": 0,
        "fuel_rate": 0xFAFF,
        "speed": 0,
        "rpm": 0xFAFF,
        "gross_weight": 0,
        "load_kg": -1000,
        "axle_kg": 0xFAFF - 1000,
        "flags": record.FUEL_COARSE | record.SECOND_SOURCE | record.AXLE_STABLE,
    },
]
WAREHOUSES: list[dict[str, Any]] = [
    {"counts": [0, 1, 2**48 - 2], "glitches": 3, "flags": record.COUNT_NEW},
    {"counts": [2**32, None, None], "glitches": 65_535, "flags": 0},
]


def _na(value: int | None, na: int) -> int:
    return na if value is None else value


def _truck_fields(t: dict[str, Any]) -> bytes:
    totals = [_na(t[name], record.NA32) for name in ("fuel_total", "odometer")]
    others = [_na(t[n], record.NA16) for n in ("fuel_rate", "speed", "rpm", "gross_weight", "load_kg", "axle_kg")]
    return record.truck_fields(*totals, *others)


def _with_head(kind: str, seq: int, t_ms: int, values: dict[str, Any]) -> dict[str, Any]:
    return {"kind": kind, "boot_id": BOOT, "seq": seq, "t_ms": t_ms, **values}


def _trucks() -> Vector:
    data, rows = b"", []
    for i, truck in enumerate(TRUCKS):
        seq, t_ms = 100 + i, 2**32 - 1_000 + 1_000 * i  # over the wrap
        data += framing.encode(record.pack(record.TRUCK, BOOT, seq, t_ms, _truck_fields(truck), truck["flags"]))
        rows.append(_with_head("truck", seq, t_ms % 2**32, truck))
    return "v1_trucks", "frames", data, rows


def _warehouses() -> Vector:
    data, rows = b"", []
    for i, w in enumerate(WAREHOUSES):
        fields = record.warehouse_fields([_na(c, record.NA48) for c in w["counts"]], w["glitches"])
        data += framing.encode(record.pack(record.WAREHOUSE, BOOT, i, 10_000 * i, fields, w["flags"]))
        rows.append(_with_head("warehouse", i, 10_000 * i, w))
    return "v1_warehouses", "frames", data, rows


def _talk() -> Vector:
    beat = record.beat_fields(0xCAFEF00D, 7, 12, 5, 2, 1)
    data = framing.encode(record.pack(record.BEAT, BOOT, 12, 61_000, beat, record.AFTER_WATCHDOG))
    data += framing.encode(record.pack(record.ANCHOR, BOOT - 1, 0, 5_000, record.anchor_fields(1_767_225_600_123), 0))
    told = {"ring_id": 0xCAFEF00D, "acked": 7, "next": 12, "oldest": 5, "bad_frames": 2, "failed_writes": 1, "flags": 1}
    anchor = {"kind": "anchor", "boot_id": BOOT - 1, "seq": 0, "t_ms": 5_000, "utc_ms": 1_767_225_600_123}
    return "v1_beat_anchor", "frames", data, [_with_head("beat", 12, 61_000, told), anchor]


def _down() -> Vector:
    row = {"flags": 7, "ring_id": 0xCAFEF00D, "acked": 7, "resume": 8, "utc_ms": 1_767_225_600_123}
    return "v1_down", "down", down_frame(7, 0xCAFEF00D, 7, 8, 1_767_225_600_123), row


def _flash() -> Vector:
    """Long in use: the oldest records are overwritten, one slot is torn, the state has changed sectors."""
    flash = FakeFlash(SECTOR, SECTORS)
    ring, state = Ring(flash, STATE_SECTORS, SECTORS - STATE_SECTORS), State(flash, 0)
    ring.mount(0xCAFEF00D)
    state.load()
    for i in range(23):
        ring.append(record.TRUCK, BOOT, 1_000 * i, _truck_fields(TRUCKS[i % 3]), TRUCKS[i % 3]["flags"])
    at = STATE_SECTORS * SECTOR + 20 + 3 * record.SIZE  # slot 3 of the sector in use
    flash.write(at, b"FR\x01\x01\x44\x33")
    for i in range(5):
        state.ring_id, state.acked, state.tare, state.has_tare = 0xCAFEF00D, 4 * i, -70_000, True
        state.set_anchor(BOOT - i, 1_000 * i, 1_767_225_600_000 + i)
        state.save()
    found = {
        "sector_size": SECTOR,
        "state_sectors": STATE_SECTORS,
        "ring_id": 0xCAFEF00D,
        "next": 23,
        "records": [_with_head("truck", i, 1_000 * i, TRUCKS[i % 3]) for i in range(5, 23)],
        "acked": 16,
        "tare": -70_000,
        "anchors": [[BOOT - i, 1_000 * i, 1_767_225_600_000 + i] for i in (4, 3, 2, 1)],
    }
    return "v1_flash", "flash", bytes(flash.data), found


def main() -> None:
    for name, what, data, rows in (_trucks(), _warehouses(), _talk(), _down(), _flash()):
        path = FOLDER / f"{name}.bin"
        if path.exists():
            continue
        path.write_bytes(data)
        about = {"what": what, "sha256": hashlib.sha256(data).hexdigest(), "found": rows}
        path.with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n")
        print(f"{path.name}: {len(data)} bytes")


if __name__ == "__main__":
    main()
