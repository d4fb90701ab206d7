"""Made-up rows for tests of the lake: any number, from a seed, with gaps where columns may have them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from devices.envelope import Sign, batch_hash, envelope, seal
from devices.wire import Sample, encode_batch
from storage.disk import Disk
from storage.gateways import GatewayRow
from storage.lake import Commit, Lake, StatePart
from storage.schema import BATCHES, Columns, Names, empty, to_arrow
from stream.columns import TABLES, UNKNOWN

DEVICES = tuple(f"gw-{i:03d}" for i in range(100))
NAMES = Names(
    device=DEVICES,
    asset=tuple(f"truck-{i:03d}" for i in range(100)),
    route=("r-north", "r-south"),
    place=("depot", "shop"),
    region=("here", "there"),
)
T0 = 1_795_305_600_000_000_000  # 2026-11-22T00:00:00Z, the start of a day and of a minute
SECOND = 1_000_000_000
FACTOR_SET = "fleetco2-2026.1"
GATEWAY = GatewayRow(  # a gateway with 40 readings that wait, the oldest for 50 s
    received_ns=T0,
    tenant="acme",
    device="gw-1",
    status="online",
    is_will=False,
    retained=False,
    boot_id=7,
    software="1.2.3",
    waiting=40,
    oldest_ns=T0 - 50 * SECOND,
    fill=0.25,
    thinned=3,
    in_memory=False,
    clock="gps",
    undated=0,
    missing="",
    stuck="",
    config_version=None,
    config_refused="",
)


def columns(table: str, n: int, *, seed: int = 1, start_ns: int = T0, span_ns: int = 3_600 * SECOND) -> Columns:
    """``n`` random rows of ``table`` within ``span_ns`` of ``start_ns``. A third of what may be unknown is."""
    rng = np.random.default_rng(seed)
    out: dict[str, Any] = {}
    values: Any
    for c in TABLES[table]:
        if c.dtype == "code":
            count = len(c.codes) if c.codes else len(getattr(NAMES, c.names))
            values = rng.integers(-1 if c.nullable else 0, count, n).astype(np.int32)
        elif c.dtype == "float64":
            values = np.where(rng.random(n) < 1 / 3, np.nan, rng.normal(100.0, 50.0, n).round(3))
        elif c.dtype == "bool":
            values = rng.random(n) < 0.1
        elif c.name.endswith("_ns"):
            values = start_ns + rng.integers(0, span_ns, n)
            values = values // (60 * SECOND) * (60 * SECOND) if c.name == "minute_ns" else values
        elif c.dtype == "int32":
            values = np.ones(n, np.int32)
        else:
            values = rng.integers(0, 10**9, n)
            if c.nullable:
                values[rng.random(n) < 1 / 3] = UNKNOWN
        out[c.name] = values
    return out


def commit(n: int, *, seed: int = 1, state: bytes | StatePart | None = b"state", **kwargs: int) -> Commit:
    """A commit of ``n`` readings, as many emissions and a tenth as many rollups, trips and events."""
    tables = {
        t: to_arrow(t, columns(t, n if t in ("readings", "emissions") else n // 10, seed=seed, **kwargs), NAMES)
        for t in TABLES
    }
    return Commit(**tables, quarantine=empty("quarantine"), factor_set=FACTOR_SET, state=state)


def nothing(state: bytes | StatePart | None = b"state") -> Commit:
    """A commit without a row."""
    return replace(commit(0), state=state)


def recovered(lake: Lake) -> tuple[int, bytes]:
    """Number of the newest commit, and the parts of its state one after another."""
    n, parts = lake.recover()
    return n, b"".join(parts)


def batches(n: int, *, seed: int = 1, start_ns: int = T0, sign: Sign | None = None) -> pa.Table:
    """``n`` frames of one reading each of three devices in turn, every other one signed: by ``sign``, or by nobody's key."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for i in range(n):
        signed = sign or (lambda _: rng.bytes(64)) if i % 2 else None
        sample = Sample(start_ns // 1_000_000 + 1_000 * i, {"speed_kmh": float(rng.integers(0, 90))})
        previous = rows[i - 3]["frame_sha256"] if i >= 3 else None
        frame = seal(
            encode_batch(DEVICES[i % 3], 7, i // 3, [sample]), "acme", previous=previous, replaces=None, sign=signed
        )
        rows.append(
            {
                "tenant": "acme",
                "device": DEVICES[i % 3],
                "boot_id": 7,
                "first_seq": i // 3,
                "n": 1,
                "time_ns": start_ns + i * SECOND,
                "received_ns": start_ns + (i + 1) * SECOND,
                "frame_sha256": batch_hash(frame),
                "previous_sha256": previous,
                "signature": envelope(frame).signature,
                "frame": frame,
            }
        )
    return pa.Table.from_pylist(rows, schema=BATCHES)


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """The rows, to compare."""
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


class Clock:
    """A clock that tests move: nanoseconds since 1970, a second later at each look."""

    def __init__(self, now_ns: int = T0) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        self.now_ns += SECOND
        return self.now_ns

    def move(self, seconds: float) -> None:
        """Let time pass."""
        self.now_ns += int(seconds * SECOND)


class Crash(BaseException):
    """The process ends here. Nothing may catch it."""


class FaultyDisk(Disk):
    """A disk that fails, or at which the process dies, at call number ``at`` (from 0); a write leaves half of its bytes behind."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.at: int | None = None
        self.error: BaseException = Crash()
        self.once = False

    def arm(self, at: int | None, error: BaseException, *, once: bool = True) -> None:
        """Fail at the call number ``at`` from now; with ``once`` only there, else from there on."""
        self.calls, self.at, self.error, self.once = [], at, error, once

    def _strikes(self, call: str) -> bool:
        self.calls.append(call)
        here = len(self.calls) - 1
        return self.at is not None and (here == self.at if self.once else here >= self.at)

    def write(self, tmp: Any, path: Any, data: Any) -> None:
        if self._strikes(f"write {path.name}"):
            tmp.write_bytes(bytes(memoryview(data).cast("B")[: len(data) // 2]))
            raise self.error
        super().write(tmp, path, data)
        if self._strikes(f"written {path.name}"):
            raise self.error

    def overwrite(self, path: Any, offset: int, data: bytes) -> None:
        if self._strikes(f"overwrite {path.name}"):
            super().overwrite(path, offset, data[: len(data) // 2])
            raise self.error
        super().overwrite(path, offset, data)

    def sync(self, path: Any) -> None:
        if self._strikes(f"sync {path.name}"):
            raise self.error
        super().sync(path)

    def remove(self, path: Any) -> None:
        if self._strikes(f"remove {path.name}"):
            raise self.error
        super().remove(path)


def rollup_rows(*rows: dict[str, Any]) -> pa.Table:
    """Rollups from a few values each; what is not given is 0, codes included, and the newest reading ends its minute."""
    out: dict[str, Any] = {}
    for c in TABLES["rollups"]:
        dtype = np.int32 if c.dtype in ("code", "int32") else np.int64
        out[c.name] = np.array([r.get(c.name, 0) for r in rows], dtype)
    for name in ("newest_time_ns", "newest_received_ns"):
        out[name] = np.array([r.get(name, r["minute_ns"] + 59 * SECOND) for r in rows])
    return to_arrow("rollups", out, NAMES)
