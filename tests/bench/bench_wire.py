"""Wire v1 against the other encodings, in one run: bytes per reading, and readings decoded per second on one core.

``python -m tests.bench wire`` prints the table of ``devices/README.md``. The trip is made up, seeded, 1 Hz stop and
go, 16 signals in J1939 steps with the noise of real sensors.
"""

import io
import math
import random
import struct
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import zstandard

from devices.signals import BY_NAME
from devices.wire import SCALE, JsonReading, Sample, encode_batch
from ingest.decode import Message, decode
from stream.kernel import kernel
from tests.bench.result import Result

SEEDS: Final = range(8)
SECONDS: Final = 1800
BATCH: Final = 60
T0_MS: Final = 1_760_000_000_000
Columns = dict[int, list[int]]


def stop_go_trip(seed: int, seconds: int) -> list[Sample]:
    """A truck in stop-and-go traffic: 1 Hz, 16 signals."""
    rng = random.Random(seed)
    gauss = rng.gauss
    speed = target = grade = north = east = up = 0.0
    hold = 0
    lat, lon, heading = 51 + rng.random(), 4 + rng.random(), rng.uniform(0, math.tau)
    odometer, fuel, level = rng.uniform(1e7, 9e8), rng.uniform(1e3, 3e5), rng.uniform(30, 95)
    alt, mass, temp, baro = rng.uniform(200, 400), rng.uniform(14e3, 38e3), rng.uniform(-5, 25), rng.uniform(98, 103)
    samples = []
    for i in range(seconds):
        if hold == 0:
            target, hold = rng.choice((0, 0, 30, 50, 50, 70, 84)), rng.randrange(10, 60)
        hold -= 1
        accel = max(-1.2, min(0.8, (target - speed) / 8)) + gauss(0, 0.08)
        speed = max(0.0, speed + accel * 3.6) if target or speed > 2 else 0.0
        heading += gauss(0, 0.01) * min(1, speed / 30)
        grade = 0.97 * grade - (alt - 300) * 1e-5 + gauss(0, 0.003)
        metres = speed / 3.6
        odometer += metres
        lat += metres * math.cos(heading) / 111e3
        lon += metres * math.sin(heading) / (111e3 * math.cos(math.radians(lat)))
        alt += metres * grade
        north, east, up = 0.95 * north + gauss(0, 0.05), 0.95 * east + gauss(0, 0.05), 0.95 * up + gauss(0, 0.15)
        force = mass * (max(accel, -0.3) + 9.81 * (0.006 + grade)) + 3 * metres**2
        kw = max(0.0, force * metres / 1000)
        rate = 0.0 if accel < -0.3 and speed > 10 else 2.5 + 0.22 * kw
        fuel += rate / 3600
        level -= rate / 14400
        rpm = 600 + gauss(0, 4) if speed < 3 else 900 + speed % 7 / 7 * 500 + gauss(0, 6)
        torque = min(100, kw / 320 * 150_000 / rpm + 6) + gauss(0, 1) if rate else 0.0
        temp += gauss(0, 0.01)
        values = {
            "lat_deg": lat + north / 111e3,
            "lon_deg": lon + east / 70e3,
            "alt_m": alt + up,
            "gps_speed_kmh": abs(speed + gauss(0, 0.15)),
            "speed_kmh": max(0.0, speed + gauss(0, 0.05)) if speed else 0.0,
            "odometer_m": 5 * (odometer // 5),
            "engine_speed_rpm": rpm,
            "engine_torque_pct": torque,
            "engine_load_pct": max(0.0, torque + gauss(0, 1)),
            "fuel_rate_lph": max(0.0, rate * (1 + gauss(0, 0.02))),
            "fuel_total_hr_l": fuel,
            "fuel_level_pct": 0.4 * (level // 0.4),
            "gross_weight_kg": 10 * ((mass + gauss(0, 60)) // 10),
            "ambient_temp_c": temp,
            "baro_kpa": 0.5 * ((baro - alt * 0.012) // 0.5),
            "switches": 48 if accel < -0.4 else 16,
        }
        in_steps = {name: round(v * SCALE[name]) / SCALE[name] for name, v in values.items()}
        samples.append(Sample((T0_MS + 1000 * i + rng.randrange(-3, 4)) * 1_000_000, in_steps))
    return samples


def _columns(samples: Sequence[Sample]) -> Columns:
    columns = {1: [s.time_ns // 1_000_000 - T0_MS for s in samples]}
    for name in samples[0].values:
        columns[BY_NAME[name].number] = [round(s.values[name] * SCALE[name]) for s in samples]
    return columns


def _zigzag(value: int) -> int:
    return value << 1 if value >= 0 else ~(value << 1)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def _varints(values: list[int]) -> bytes:
    return b"".join(_varint(v) for v in values)


def _fixed(values: list[int]) -> bytes:
    width = next(w for w in (1, 2, 4, 8) if max(values) < 1 << 8 * w)
    return bytes((width,)) + struct.pack(f"<{len(values)}{' BH I   Q'[width]}", *values)


def _planes(values: list[int]) -> bytes:
    width = max(1, (max(values).bit_length() + 7) // 8)
    rows = struct.pack(f"<{len(values)}Q", *values)
    return bytes((width,)) + b"".join(rows[k::8] for k in range(width))


def _differences(values: list[int], orders: int) -> tuple[list[int], list[int]]:
    """Bases and differences of the cheapest order below ``orders``."""
    candidates = [values]
    while len(candidates) < orders:
        candidates.append([b - a for a, b in pairwise(candidates[-1])])
    best = min(range(orders), key=lambda o: sum(map(int.bit_length, candidates[o])) + 16 * o)
    return [c[0] for c in candidates[:best]], candidates[best]


def _body(columns: Columns, pack: Callable[[list[int]], bytes], orders: int) -> bytes:
    body = b""
    for number, values in columns.items():
        bases, rest = _differences(values, orders)
        body += bytes((number, len(bases))) + _varints([_zigzag(b) for b in bases]) + pack([_zigzag(v) for v in rest])
    return body


def _msgpack(columns: Columns) -> bytes:
    return msgspec.msgpack.encode({k: [v[0]] + [b - a for a, b in pairwise(v)] for k, v in columns.items()})


def _rows(columns: Columns) -> bytes:
    """As protobuf would: per row a length, per field a tag and a zigzag integer; time as difference to the first."""
    rows = b""
    for i in range(len(columns[1])):
        row = b"".join(_varint(k << 3) + _varint(_zigzag(v[i])) for k, v in columns.items())
        rows += _varint(len(row)) + row
    return rows


def _arrow(columns: Columns) -> bytes:
    types = {1: pa.int32(), 2: pa.int32(), 3: pa.int32()}
    arrays = {
        str(k): pa.array(v, types.get(k, pa.int32() if max(v) > 32_767 else pa.int16())) for k, v in columns.items()
    }
    batch = pa.RecordBatch.from_pydict(arrays)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


LAYOUTS: Final = {"fixed width": _fixed, "varint": _varints, "byte planes": _planes}


@kernel
def _unpack(body: npt.NDArray[np.uint8], layout: int, n: int, out: npt.NDArray[np.int64]) -> None:
    """Integers of a ``_body`` made with layout 0 fixed, 1 varint, 2 planes."""
    at: Any = 0
    done: Any = 0
    while at < body.size:
        bases = np.int64(body[at + 1])
        at += 2
        for _ in range(bases):
            while body[at] & 0x80:
                at += 1
            at += 1
        count = n - bases
        if layout == 1:
            for i in range(count):
                value = np.uint64(0)
                shift = np.uint64(0)
                while body[at] & 0x80:
                    value |= np.uint64(body[at] & 0x7F) << shift
                    shift += np.uint64(7)
                    at += 1
                value |= np.uint64(body[at]) << shift
                at += 1
                out[done + i] = np.int64(value >> np.uint64(1)) ^ -np.int64(value & np.uint64(1))
        else:
            width = np.int64(body[at])
            at += 1
            step, stride = (1, width) if layout == 0 else (count, 1)
            for i in range(count):
                value = np.uint64(0)
                for k in range(width):
                    value |= np.uint64(body[at + i * stride + k * step]) << np.uint64(8 * k)
                out[done + i] = np.int64(value >> np.uint64(1)) ^ -np.int64(value & np.uint64(1))
            at += count * width
        done += count


def _seconds(function: Callable[[], object]) -> float:
    function()
    spent = []
    for _ in range(5):
        start = time.perf_counter()
        function()
        spent.append(time.perf_counter() - start)
    return min(spent)


def _layout_seconds(payloads: list[bytes], layout: int) -> float:
    out = np.empty(BATCH * 20, dtype=np.int64)
    decompressor = zstandard.ZstdDecompressor()

    def all_of_them() -> None:
        for payload in payloads:
            _unpack(np.frombuffer(decompressor.decompress(payload), dtype=np.uint8), layout, BATCH, out)

    return _seconds(all_of_them)


def _msgpack_seconds(payloads: list[bytes]) -> float:
    decoder, decompressor = msgspec.msgpack.Decoder(dict[int, list[int]]), zstandard.ZstdDecompressor()

    def all_of_them() -> None:
        for payload in payloads:
            for values in decoder.decode(decompressor.decompress(payload)).values():
                np.cumsum(np.array(values, dtype=np.int64))

    return _seconds(all_of_them)


def _arrow_seconds(payloads: list[bytes]) -> float:
    decompressor = zstandard.ZstdDecompressor()

    def all_of_them() -> None:
        for payload in payloads:
            batch = pa.ipc.open_stream(decompressor.decompress(payload)).read_next_batch()
            for column in batch.columns:
                column.to_numpy()

    return _seconds(all_of_them)


def _json_row(sample: Sample, seq: int) -> bytes:
    return msgspec.json.encode(
        JsonReading(device="truck-0001", boot_id=2**62 + 1, seq=seq, time_ns=sample.time_ns, signals=sample.values)
    )


def _decode_seconds(messages: list[Message], per_call: int, readings: int) -> float:
    def all_of_them() -> None:
        found = 0
        for start in range(0, len(messages), per_call):
            found += decode(messages[start : start + per_call], {"truck-0001": 0}, ["acme"], earliest_ns=0).n
        assert found == readings

    return _seconds(all_of_them)


def _messages(payloads: list[bytes], leaf: str) -> list[Message]:
    received_ns = T0_MS * 1_000_000 + 10**13
    return [Message(f"fleet/v1/acme/truck-0001/{leaf}", payload, received_ns) for payload in payloads]


def _v1(trips: list[list[Sample]], batch: int) -> list[bytes]:
    return [encode_batch("truck-0001", 2**62 + 1, i, t[i : i + batch]) for t in trips for i in range(0, SECONDS, batch)]


def _sizes(trips: list[list[Sample]], batches: list[list[Sample]], json_rows: list[bytes]) -> dict[str, list[bytes]]:
    """Payloads by name of the encoding, batches of 60 unless the name says another number."""
    zipped = zstandard.ZstdCompressor(level=3, write_checksum=True).compress
    columns = [_columns(batch) for batch in batches]
    payloads = {
        "JSON, one a message": json_rows,
        "JSON rows + zstd": [zipped(b"\n".join(json_rows[i : i + BATCH])) for i in range(0, len(json_rows), BATCH)],
        "protobuf-like rows": [_rows(c) for c in columns],
        "protobuf-like rows + zstd": [zipped(_rows(c)) for c in columns],
        "Arrow IPC + zstd": [zipped(_arrow(c)) for c in columns],
        "msgpack delta columns + zstd": [zipped(_msgpack(c)) for c in columns],
    }
    for orders, which in ((1, "values"), (2, "or differences"), (3, "or second differences")):
        for layout, pack in LAYOUTS.items():
            name = f"{layout} + zstd, no header, {which}"
            payloads[name] = [zipped(_body(c, pack, orders)) for c in columns]
    return payloads | {f"v1, {n} a batch": _v1(trips, n) for n in (1, 10, 60, 600)}


def run() -> list[Result]:
    """Sizes, then seconds to decode, each against wire v1 in the same run."""
    trips = [stop_go_trip(seed, SECONDS) for seed in SEEDS]
    batches = [trip[i : i + BATCH] for trip in trips for i in range(0, SECONDS, BATCH)]
    readings = SECONDS * len(SEEDS)
    json_rows = [_json_row(s, i) for batch in batches for i, s in enumerate(batch)]
    payloads = _sizes(trips, batches, json_rows)
    v1 = payloads["v1, 60 a batch"]
    v1_bytes = sum(map(len, v1))
    results = []
    for name, encoded in payloads.items():
        total = sum(map(len, encoded))
        against = "target <= 20" if encoded is v1 else f"{total / v1_bytes:.2f} x v1, 60 a batch"
        results.append(Result(f"wire size, {name}", total / readings, "B/reading", against))
    micros = _seconds(lambda: _v1(trips, BATCH)) / readings * 1e6
    results.append(Result("wire encode, v1, 60 a batch", micros, "us/reading", "pure Python, one core"))

    messages = _messages(v1, "up/readings")
    seconds = {f"v1, {n} messages a call": _decode_seconds(messages, n, readings) for n in (100, 10, 1)}
    seconds["JSON, 100 messages a call"] = _decode_seconds(_messages(json_rows, "up/json"), 100, readings)
    seconds["msgpack delta columns, to integers only"] = _msgpack_seconds(payloads["msgpack delta columns + zstd"])
    seconds["Arrow IPC, to integers only"] = _arrow_seconds(payloads["Arrow IPC + zstd"])
    for number, layout in enumerate(LAYOUTS):
        encoded = payloads[f"{layout} + zstd, no header, or second differences"]
        seconds[f"{layout}, zstd and unpacking only"] = _layout_seconds(encoded, number)
    best = seconds["v1, 100 messages a call"]
    for name, spent in seconds.items():
        against = "target >= 3" if spent is best else f"{spent / best:.2f} x the time of v1, 100 messages a call"
        results.append(Result(f"wire decode, {name}", readings / spent / 1e6, "M readings/s", against))
    return results
