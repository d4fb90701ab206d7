"""Writes golden vectors that are not there yet: ``python tests/golden/wire/make_wire_golden.py``. Never changes one.

A vector is ``<name>.bin``, the payload, and ``<name>.json``: topic leaf, SHA-256 of the payload, and the rows that any later
reader must find in it ("every_row" is common to all). The rows come from what was put in, never from the decoder.
"""

import hashlib
import json
import math
import struct
from pathlib import Path
from typing import Any

import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from devices.envelope import seal
from devices.signals import SIGNALS
from devices.wire import Sample, encode_batch

FOLDER = Path(__file__).parent
DEVICE = "truck-001"
BOOT_ID = 0x1122334455667788
T0_MS = 1_760_000_000_000
Vector = tuple[str, bytes, list[dict[str, Any]]]


def _rows(samples: list[Sample], seq0: int, **header: Any) -> list[dict[str, Any]]:
    rows, seq = [], seq0 - 1
    for s in samples:
        seq += s.merged
        row = {"device": DEVICE, "boot_id": BOOT_ID, "seq": seq, "merged": s.merged, "time_ns": s.time_ns, **header}
        rows.append(row | {"signals": s.values})
    return rows


def _batch(samples: list[Sample], seq0: int = 0, **header: Any) -> tuple[bytes, list[dict[str, Any]]]:
    fields = {"historical": False, "clock_source": "none", "clock_error_ms": -1} | header
    return encode_batch(DEVICE, BOOT_ID, seq0, samples, **header), _rows(samples, seq0, **fields)


def _sample(i: int, values: dict[str, float], step_ms: int = 1000, merged: int = 1) -> Sample:
    return Sample((T0_MS + i * step_ms) * 1_000_000, values, merged)


def _truck(i: int) -> dict[str, float]:
    """A truck pulling away, in whole steps."""
    speed = round(min(i * 1.9, 80) * 256) / 256
    return {
        "lat_deg": (512_345_678 + 137 * i + i * i % 7) / 1e7,
        "lon_deg": (-41_234_567 - 95 * i) / 1e7,
        "alt_m": (1234 + i % 5) / 10,
        "gps_speed_kmh": round(speed * 100) / 100,
        "speed_kmh": speed,
        "odometer_m": 123_456_000 + 5 * (i * i // 10),
        "engine_speed_rpm": (4800 + 37 * (i % 11)) / 8,
        "engine_torque_pct": 100 - i,
        "engine_load_pct": max(0, 100 - i),
        "fuel_rate_lph": (600 - 3 * i) / 20,
        "fuel_total_hr_l": (987_654_321 + 8 * i) / 1000,
        "fuel_level_pct": (805 - i // 20) / 10,
        "gross_weight_kg": 31_450 + 10 * (i % 3),
        "ambient_temp_c": (-3 * 32 + i % 2) / 32,
        "baro_kpa": 98.5,
        "switches": 48 if i % 13 == 0 else 16,
    }


def _gaps() -> list[Sample]:
    """Signals that come and go; some never present together."""
    samples = []
    for i in range(21):
        values = {"ambient_temp_c": i / 32, "switches": float(i % 2)}
        if i % 3:
            values["lat_deg"] = -33.0 - i / 1e7
        if i == 20:
            values["refrigerant_topup_total_kg"] = 0.001
        samples.append(_sample(i, {} if i == 7 else values, step_ms=-1500 * (-1) ** i))
    return samples


def _extremes() -> list[Sample]:
    """Every signal at the ends of its range, in whole steps inside it."""
    ends = []
    for towards in (math.ceil, math.floor):
        edge = {}
        for s in SIGNALS:
            scale = round(1 / s.step)
            edge[s.name] = towards((s.low if towards is math.ceil else s.high) * scale) / scale
        ends.append(edge)
    return [_sample(i, ends[i % 2], step_ms=86_400_000) for i in range(4)]


def _by_hand() -> Vector:
    """What this version's encoder never writes: an extension, unknown columns, wide planes, second differences, flags."""
    blocks = [
        bytes((1, 1 << 3 | 1)) + b"\x00" + bytes((0xD0, 0xD0, 0x07, 0x07)),  # 0, +1000, +1000 ms
        bytes((7, 7)) + bytes((0, 2, 4)) + bytes(21),  # 0, 1, 2 steps of 1/256 in eight planes
        bytes((8, 2 << 3)) + bytes((10, 1, 6)),  # 5, -1, then +3: 5, 4, 6 m
        bytes((99, 32 | 3 << 3, 0b010, 7)),  # unknown
        bytes((254, 128)) + struct.pack("<I", 5) + b"later",  # unknown and opaque
    ]
    frame = zstandard.ZstdCompressor(level=3, write_checksum=True).compress(b"".join(blocks))
    name, extension = DEVICE.encode(), b"an extension of a later minor"
    header_len = 43 + len(name) + len(extension)
    header = struct.pack("<2sBBHHQQIqBBIB", b"FC", 1, 0x81, header_len, 3, BOOT_ID, 2**62, 3, T0_MS, 4, 5, 7, len(name))
    samples = [_sample(i, {"speed_kmh": i / 256, "odometer_m": m}) for i, m in enumerate((5, 4, 6))]
    rows = _rows(samples, 2**62, historical=True, clock_source="holdover", clock_error_ms=7)
    return "v1_by_hand", header + name + extension + frame, rows


def _signed() -> Vector:
    """Chained, thinned and signed by the key of 32 bytes 0, 1, 2 ... for the tenant acme."""
    payload, rows = _batch([_sample(i, _truck(i), merged=60) for i in range(10)], 600, historical=True)
    sign = Ed25519PrivateKey.from_private_bytes(bytes(range(32))).sign
    return "v1_signed", seal(payload, "acme", previous=b"P" * 32, replaces=b"R" * 32, sign=sign), rows


def _json() -> Vector:
    text = (
        f'{{"v":1,"device":"{DEVICE}","boot_id":{BOOT_ID},"seq":3,"time_ns":{T0_MS * 1_000_000 + 5},"clock_source":"ntp",'
        '"clock_error_ms":12,"signals":{"speed_kmh":49.6,"fuel_total_l":1.5e3}}'
    )
    header = {"historical": False, "clock_source": "ntp", "clock_error_ms": 12}
    sample = Sample(T0_MS * 1_000_000 + 5, {"speed_kmh": 49.6, "fuel_total_l": 1500.0})
    return "v1_json", text.encode(), _rows([sample], 3, **header)


def vectors() -> list[Vector]:
    """Every vector: name, payload, rows."""
    gps: dict[str, Any] = {"clock_source": "gps", "clock_error_ms": 2}
    merged = [
        _sample(i, {"odometer_m": 100 * i, "fuel_total_hr_l": i / 8}, 60_000, m)
        for i, m in enumerate((60, 1, 2**31 - 1))
    ]
    return [
        ("v1_one_reading", *_batch([_sample(0, {"speed_kmh": 80.5})])),
        ("v1_truck_minute", *_batch([_sample(i, _truck(i)) for i in range(60)], 3600, **gps)),
        ("v1_backlog", *_batch([_sample(i, _truck(i % 97)) for i in range(120)], 10**9, historical=True, **gps)),
        ("v1_gaps", *_batch(_gaps())),
        ("v1_merged", *_batch(merged, 17)),
        ("v1_extremes", *_batch(_extremes(), 2**62)),
        ("v1_no_signals", *_batch([_sample(i, {}) for i in range(1000)])),
        _by_hand(),
        _signed(),
        _json(),
    ]


def main() -> None:
    for name, payload, rows in vectors():
        binary, expected = FOLDER / f"{name}.bin", FOLDER / f"{name}.json"
        if binary.exists():
            continue
        leaf = "up/json" if name.endswith("_json") else "up/readings"
        every = {key: value for key, value in rows[0].items() if all(row[key] == value for row in rows)}
        about = {"leaf": leaf, "sha256": hashlib.sha256(payload).hexdigest(), "every_row": every}
        lines = ",\n".join(json.dumps({k: v for k, v in row.items() if k not in every}) for row in rows)
        binary.write_bytes(payload)
        expected.write_text(json.dumps(about)[:-1] + f', "rows": [\n{lines}\n]}}\n')
        print("wrote", name)


if __name__ == "__main__":
    main()
