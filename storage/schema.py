"""Arrow schemas of the stored tables, made from ``stream.columns``, and the way from numpy columns to Arrow.

A code is a dictionary array in memory and plain text in Parquet. NaN, ``UNKNOWN`` and a nullable code of -1 become null.
Partition columns (``day`` in UTC, ``factor_set``) stand in the path of a file, never inside it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Final, get_args, get_type_hints

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.references import Baseline, Benchmark
from stream.columns import ROLLUP, TABLES, UNKNOWN, Column
from stream.factors import Factor
from stream.fleet import Fleet, Route, Vehicle, Warehouse
from stream.market import MarketFactor
from stream.places import Place
from stream.regions import Region

Columns = dict[str, npt.NDArray[Any]]

DAY_NS: Final = 86_400_000_000_000
DAY_OF: Final = {
    "readings": "time_ns",
    "emissions": "time_ns",
    "rollups": "minute_ns",
    "trips": "trip_start_ns",
    "events": "time_ns",
    "quarantine": "received_ns",
    "batches": "received_ns",
    "gateways": "received_ns",
}
PARTITIONS: Final[dict[str, tuple[str, ...]]] = {
    "readings": ("day",),
    "emissions": ("day", "factor_set"),
    "rollups": ("day", "factor_set"),
    "trips": ("day", "factor_set"),
    "events": ("day", "factor_set"),
    "quarantine": ("day",),
    "batches": ("day",),
    "gateways": ("day",),
    "backhaul": ("day",),
    "rollup_hours": ("day", "factor_set"),
    "trip_words": ("day", "factor_set"),
}
ROLLUP_NEWEST: Final = tuple(c.name for c in ROLLUP if c.name.startswith("newest_"))  # take the maximum
ROLLUP_SUMS: Final = tuple(
    c.name
    for c in ROLLUP
    if c.dtype == "int64" and not c.name.endswith("_ns")  # times are keys
)
ROLLUP_KEYS: Final = tuple(c.name for c in ROLLUP if c.name not in (*ROLLUP_NEWEST, *ROLLUP_SUMS))
LANDED: Final = tuple(DAY_OF)  # the tables that a commit writes, raw first
HOURS: Final = "rollup_hours"
WORDS: Final = "trip_words"
SUMMARIES: Final = {
    HOURS: "rollups",
    WORDS: "trips",
}  # made by maintenance -> of what: sums by the hour, the newest word on each trip
SMALL_DICTIONARY: Final = (
    64  # a list of names up to this long is written whole; a longer one is cut to the names in use
)

_ARROW: Final = {
    "int64": pa.int64(),
    "int32": pa.int32(),
    "int8": pa.int8(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "code": pa.string(),
}
_PARTITION_FIELDS: Final = {
    "day": pa.field(
        "day", pa.date32(), nullable=False, metadata={"unit": "", "doc": "Day in UTC, in the path of the file."}
    ),
    "factor_set": pa.field(
        "factor_set", pa.string(), nullable=False, metadata={"unit": "", "doc": "Factor set behind the row."}
    ),
}


@dataclass(frozen=True)
class Names:
    """The fleet's name lists, which codes point into. Not changed once made: a new device means new ``Names``."""

    device: Sequence[str] = ()
    asset: Sequence[str] = ()
    route: Sequence[str] = ()
    place: Sequence[str] = ()
    region: Sequence[str] = ()

    @cached_property
    def dictionaries(self) -> dict[str, pa.Array]:
        """Each list as Arrow text."""
        return {k: pa.array(getattr(self, k), pa.string()) for k in ("device", "asset", "route", "place", "region")}


def names_of(fleet: Fleet) -> Names:
    """What the codes in a fleet's results mean."""
    return Names(
        device=fleet.devices,
        asset=fleet.assets,
        route=fleet.route_names,
        place=fleet.place_names,
        region=fleet.region_names,
    )


def _text(name: str, doc: str, *, nullable: bool = False) -> pa.Field:
    return pa.field(name, pa.string(), nullable, {"unit": "", "doc": doc})


QUARANTINE: Final = pa.schema(
    [
        pa.field(
            "received_ns", pa.int64(), False, {"unit": "ns", "doc": "When the server received it, UTC since 1970."}
        ),
        _text("tenant", "Tenant, as far as the topic told.", nullable=True),
        _text("device", "Gateway, as far as the topic told.", nullable=True),
        _text("topic", "Topic it came on."),
        _text("reason", "Why it was refused: one of a closed set."),
        _text("detail", "The same in a sentence."),
        pa.field(
            "boot_id", pa.int64(), True, {"unit": "", "doc": "Boot of a refused reading; null for a whole message."}
        ),
        pa.field(
            "seq", pa.int64(), True, {"unit": "", "doc": "Number of a refused reading; null for a whole message."}
        ),
        pa.field(
            "payload", pa.binary(), False, {"unit": "", "doc": "The whole message, or the reading's values as JSON."}
        ),
    ]
)


def _number(name: str, kind: pa.DataType, unit: str, doc: str, *, nullable: bool = False) -> pa.Field:
    return pa.field(name, kind, nullable, {"unit": unit, "doc": doc})


BATCHES: Final = pa.schema(
    [
        _text("tenant", "Tenant in the topic; the gateway signs it too."),
        _text("device", "Gateway that sent the batch."),
        _number("boot_id", pa.int64(), "", "Boot of the gateway."),
        _number("first_seq", pa.int64(), "", "Number of the batch's first reading."),
        _number("n", pa.int32(), "1", "Readings in the batch."),
        _number("time_ns", pa.int64(), "ns", "Device time of the first reading, UTC since 1970."),
        _number("received_ns", pa.int64(), "ns", "When the server received it, UTC since 1970."),
        _number("frame_sha256", pa.binary(32), "", "SHA-256 of the frame, its flag historical cleared."),
        _number("previous_sha256", pa.binary(32), "", "The same of the gateway's batch before it.", nullable=True),
        _number("signature", pa.binary(64), "", "Ed25519 signature of the gateway.", nullable=True),
        _number("frame", pa.binary(), "", "The whole frame as it was received."),
    ]
)


GATEWAYS: Final = pa.schema(
    [
        _number("received_ns", pa.int64(), "ns", "When the server received it, UTC since 1970."),
        _text("tenant", "Tenant in the topic."),
        _text("device", "Gateway that it tells of."),
        _text("status", "online or offline."),
        _number("is_will", pa.bool_(), "", "Said by the broker in the gateway's stead: its figures are not known."),
        _number("retained", pa.bool_(), "", "Kept by the broker: it was said before received_ns, nobody knows when."),
        _number("boot_id", pa.int64(), "", "Boot of the gateway."),
        _text("software", "Its version."),
        _number("waiting", pa.int64(), "1", "Readings that the server has not confirmed.", nullable=True),
        _number(
            "oldest_ns",
            pa.int64(),
            "ns",
            "Device time of the oldest of them, UTC since 1970; null without any.",
            nullable=True,
        ),
        _number("fill", pa.float64(), "1", "Share of the outbox that is taken, 0 to 1.", nullable=True),
        _number(
            "thinned",
            pa.int64(),
            "1",
            "Readings that it merged into others in this boot, as the outbox was full.",
            nullable=True,
        ),
        _number(
            "in_memory", pa.bool_(), "", "The outbox is not on a disk: it is lost with the process.", nullable=True
        ),
        _text("clock", "What its clock rests on."),
        _number("undated", pa.int64(), "1", "Readings that wait for a clock.", nullable=True),
        _text("missing", "Sources that give nothing because of a fault."),
        _text("stuck", "Signals that stand still although others say that they must move."),
        _number("config_version", pa.int64(), "1", "Remote configuration in force; null without one.", nullable=True),
        _text("config_refused", "Why its newest one was not taken."),
    ]
)


def _field(c: Column) -> pa.Field:
    return pa.field(c.name, _ARROW[c.dtype], c.nullable, {"unit": c.unit, "doc": c.doc})


_FILE_SCHEMAS: Final = {
    **{name: pa.schema([_field(c) for c in columns]) for name, columns in TABLES.items()},
    "quarantine": QUARANTINE,
    "batches": BATCHES,
    "gateways": GATEWAYS,
    "rollup_hours": pa.schema(
        [
            _number("hour_ns", pa.int64(), "ns", "Start of the hour, UTC since 1970.")
            if c.name == "minute_ns"
            else _field(c)
            for c in ROLLUP
        ]
    ),
    "trip_words": pa.schema([_field(c) for c in TABLES["trips"]]),
}


def _dimension(kind: type[Any]) -> pa.Schema:
    """Columns of a dimension table: the fields of its dataclass."""
    hints = get_type_hints(kind)
    arrow = {str: pa.string(), float: pa.float64(), int: pa.int64()}
    columns = []
    for f in fields(kind):
        options = [t for t in get_args(hints[f.name]) or (hints[f.name],) if t is not type(None)]
        columns.append(pa.field(f.name, next(a for t, a in arrow.items() if issubclass(options[0], t))))
    return pa.schema(columns)


DIMENSIONS: Final = {
    "market_factors": _dimension(
        MarketFactor
    ),  # before those that tell whose an asset is: views are made from the last
    "vehicles": _dimension(Vehicle),
    "warehouses": _dimension(Warehouse),
    "routes": _dimension(Route),
    "places": _dimension(Place),
    "regions": _dimension(Region),
    "baselines": _dimension(Baseline),
    "benchmarks": _dimension(Benchmark),
    "factors": pa.schema([pa.field("factor_set", pa.string()), *_dimension(Factor)]),
}


DERIVED: Final = {  # tables that no commit lands: made from others, and made again at will
    "backhaul": pa.schema(
        [
            pa.field("asset", pa.string(), False, {"unit": "", "doc": "Vehicle that ran empty."}),
            pa.field("trip_start_ns", pa.int64(), False, {"unit": "ns", "doc": "Its empty trip."}),
            pa.field("load_asset", pa.string(), False, {"unit": "", "doc": "Vehicle that carried the load."}),
            pa.field("load_trip_start_ns", pa.int64(), False, {"unit": "ns", "doc": "Trip that it was carried on."}),
            pa.field(
                "return_trip_start_ns",
                pa.int64(),
                True,
                {"unit": "ns", "doc": "Empty return of that vehicle, which would not be driven either."},
            ),
            pa.field(
                "pickup_ns",
                pa.int64(),
                False,
                {"unit": "ns", "doc": "When the empty vehicle could leave with the load."},
            ),
            pa.field("pickup_lat_deg", pa.float64(), False, {"unit": "°", "doc": "Where the load began."}),
            pa.field("pickup_lon_deg", pa.float64(), False, {"unit": "°", "doc": "Where the load began."}),
            pa.field("drop_lat_deg", pa.float64(), False, {"unit": "°", "doc": "Where the load ended."}),
            pa.field("drop_lon_deg", pa.float64(), False, {"unit": "°", "doc": "Where the load ended."}),
            pa.field("wait_s", pa.float64(), False, {"unit": "s", "doc": "Wait for the load."}),
            pa.field(
                "detour_km", pa.float64(), False, {"unit": "km", "doc": "What the empty vehicle would drive more."}
            ),
            pa.field("load_kg", pa.float64(), False, {"unit": "kg", "doc": "Mass of the load."}),
            pa.field(
                "saved_km",
                pa.float64(),
                False,
                {"unit": "km", "doc": "Kilometres not driven: load's trip and empty return, less the detour."},
            ),
            pa.field(
                "saved_l",
                pa.float64(),
                True,
                {
                    "unit": "L",
                    "doc": "Fuel not burnt: measured on those trips, less what payload and detour cost the carrier.",
                },
            ),
            pa.field(
                "saved_co2e_wtw_kg", pa.float64(), True, {"unit": "kg", "doc": "CO2e of that fuel, well-to-wheel."}
            ),
            pa.field(
                "best",
                pa.bool_(),
                False,
                {"unit": "", "doc": "Among the pairs of the day that can all be done together: only these add up."},
            ),
            _PARTITION_FIELDS["day"],
        ]
    ),
}


_BATCH_SCHEMAS: Final = {  # as ``_FILE_SCHEMAS``, codes as dictionaries
    name: pa.schema(
        [
            f.with_type(pa.dictionary(pa.int32(), pa.string())) if c.dtype == "code" else f
            for c, f in zip(columns, _FILE_SCHEMAS[name], strict=True)
        ]
    )
    for name, columns in TABLES.items()
}


def arrow_schema(table: str, *, partitions: bool = False) -> pa.Schema:
    """Columns of ``table`` as they stand in its files; with ``partitions`` also those that stand in the path."""
    schema = _FILE_SCHEMAS[table]
    if partitions:
        for name in PARTITIONS[table]:
            schema = schema.append(_PARTITION_FIELDS[name])
    return schema


def _shrunk(codes: npt.NDArray[np.int32], names: pa.Array) -> tuple[npt.NDArray[np.int32], pa.Array]:
    """Codes into only those names that occur: a file must not carry the names of the whole fleet. -1 stays -1."""
    used = np.zeros(len(names) + 1, np.bool_)  # the last slot takes -1
    used[codes] = True
    place = np.cumsum(used, dtype=np.int32) - np.int32(1)
    place[-1] = -1
    return place[codes], names.filter(pa.array(used[:-1]))


def _codes(values: npt.NDArray[np.int32], names: pa.Array, nullable: bool) -> pa.DictionaryArray:
    if len(values) and (values.min() < (-1 if nullable else 0) or values.max() >= len(names)):
        raise ValueError(f"a code of {values.min()} to {values.max()} does not fit {len(names)} names")
    if len(names) > SMALL_DICTIONARY:
        values, names = _shrunk(values, names)
    mask = values < 0 if nullable else None
    indices = pa.array(values, pa.int32(), mask=mask if mask is not None and mask.any() else None)
    return pa.DictionaryArray.from_arrays(indices, names, safe=False)


def _floats(values: npt.NDArray[np.float64]) -> pa.Array:
    mask = np.isnan(values)
    missing = int(np.count_nonzero(mask))
    if missing == len(values):
        return pa.nulls(len(values), pa.float64())
    return pa.array(values, mask=mask if missing else None)


def _integers(values: npt.NDArray[Any], nullable: bool) -> pa.Array:
    if nullable and len(values) and values.min() == UNKNOWN:
        return pa.array(values, mask=values == UNKNOWN)
    return pa.array(values)


def to_arrow(table: str, columns: Columns, names: Names) -> pa.Table:
    """The numpy columns of a batch as an Arrow table, in the order of the schema. No Python object per row.

    Buffers are shared with numpy where nothing is missing: leave the arrays alone until the table is written. Columns that are
    one and the same buffer (the shared NaN of signals nobody sent) are looked at once. Raises KeyError for a column that is
    missing, ValueError for lengths that differ or a code outside its names.
    """
    schema = _BATCH_SCHEMAS[table]
    lengths = {len(columns[c.name]) for c in TABLES[table]}
    if len(lengths) != 1:
        raise ValueError(f"columns of {table} differ in length: {sorted(lengths)}")
    if lengths == {0}:
        return schema.empty_table()
    done: dict[tuple[object, ...], pa.Array] = {}
    arrays = []
    for c in TABLES[table]:
        values = columns[c.name]
        if c.dtype == "code":
            arrays.append(_codes(values, _names_of(c, names), c.nullable))
        elif c.dtype == "float64":
            key = (values.__array_interface__["data"][0], values.shape, values.strides)
            if key not in done:
                done[key] = _floats(values)
            arrays.append(done[key])
        else:
            arrays.append(_integers(values, c.nullable))
    return pa.Table.from_arrays(arrays, schema=schema)


_FIXED_NAMES: Final = {
    c.codes: pa.array(c.codes, pa.string()) for columns in TABLES.values() for c in columns if c.codes
}


def _names_of(c: Column, names: Names) -> pa.Array:
    return _FIXED_NAMES[c.codes] if c.codes else names.dictionaries[c.names]


def empty(table: str) -> pa.Table:
    """``table`` without rows, in the types of its files."""
    return _FILE_SCHEMAS[table].empty_table()


def check(table: str, data: pa.Table) -> None:
    """Refuse data whose columns are not those of ``table``: ValueError naming the first that differs."""
    for want, have in zip(_FILE_SCHEMAS[table], data.schema, strict=False):
        kind = have.type.value_type if pa.types.is_dictionary(have.type) else have.type
        if want.name != have.name or want.type != kind:
            raise ValueError(f"{table}: column {have.name} {kind} stands where {want.name} {want.type} belongs")
    if len(data.schema) != len(_FILE_SCHEMAS[table]):
        raise ValueError(f"{table}: {len(data.schema)} columns, {len(_FILE_SCHEMAS[table])} belong")


def days(table: str, data: pa.Table) -> Iterable[tuple[str, pa.Table]]:
    """Rows of ``data`` by their UTC day, as (ISO date, rows in their old order). Nothing is copied where all share one day."""
    if data.num_rows == 0:
        return
    day = data[DAY_OF[table]].to_numpy() // DAY_NS
    if day.min() == day.max():
        yield str(np.datetime64(int(day[0]), "D")), data
        return
    order = np.argsort(day, kind="stable")
    ordered = data.take(pa.array(order))
    found, starts = np.unique(day[order], return_index=True)
    ends = [*starts[1:], len(day)]
    for d, start, end in zip(found, starts, ends, strict=True):
        yield str(np.datetime64(int(d), "D")), ordered.slice(int(start), int(end - start))
