"""Parquet as this project writes it: cheap enough for a million readings per second, readable by every engine.

Measured per column (``storage/README.md``): text is dictionary coded, floats byte-stream-split, counters and fixed-point
integers delta-packed, integers that stay the same for many rows plain; zstd level 1 over all. Row-group statistics only where
queries cut by them, and where a column has no value at all: who reads the file skips it.
"""

import hashlib
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from storage.schema import LANDED, SUMMARIES, arrow_schema

PLAIN: Final = frozenset(
    {"boot_id", "received_ns", "dt_us", "energy_uwh", "fuel_gas_ug", "co2_biogenic_ug", "observed_us"}
)
RANGES: Final = {  # columns whose least and largest value Delta and Parquet keep
    "readings": ("time_ns", "received_ns"),
    "emissions": ("time_ns",),
    "rollups": ("minute_ns", "newest_received_ns"),
    "trips": ("trip_start_ns",),
    "events": ("time_ns",),
    "quarantine": ("received_ns",),
    "batches": ("received_ns",),
    "gateways": ("received_ns",),
    "rollup_hours": ("hour_ns",),
    "trip_words": ("trip_start_ns",),
}


def _settings(table: str) -> dict[str, Any]:
    schema = arrow_schema(table)
    text = [f.name for f in schema if pa.types.is_string(f.type)]
    encoding = {f.name: "BYTE_STREAM_SPLIT" for f in schema if pa.types.is_float64(f.type)}
    encoding |= {f.name: "DELTA_BINARY_PACKED" for f in schema if pa.types.is_int64(f.type) and f.name not in PLAIN}
    dense = {f.name for f in schema if f.name == "frame" or pa.types.is_fixed_size_binary(f.type)}
    return {
        "use_dictionary": text,
        "column_encoding": encoding,
        "compression": {f.name: "none" if f.name in dense else "zstd" for f in schema} if dense else "zstd",
        "compression_level": None if dense else 1,
        "write_statistics": [*RANGES[table], *(name for name in ("device", "asset") if name in text)],
        "write_batch_size": 65_536,  # with large pages a quarter cheaper than the library's 1,024 values and 20,000 rows
        "max_rows_per_page": 1 << 20,
        "store_schema": False,  # text must not come back as a dictionary
    }


_SETTINGS: Final = {table: _settings(table) for table in (*LANDED, *SUMMARIES)}
_MERGED: Final = {
    table: settings | {"row_group_size": 65_536, "compression_level": settings["compression_level"] and 6}
    for table, settings in _SETTINGS.items()
}


def encode(table: str, data: pa.Table, *, merged: bool = False) -> pa.Buffer:
    """``data`` as a Parquet file in memory; a ``merged`` file is made once for many readers: denser, in smaller row groups."""
    settings = (_MERGED if merged else _SETTINGS)[table]
    without = [
        name for name, column in zip(data.column_names, data.columns, strict=True) if column.null_count == data.num_rows
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(data, sink, **settings | {"write_statistics": [*settings["write_statistics"], *without]})
    return sink.getvalue()


class Growing:
    """A file of ``table`` in memory that grows by row groups, so that the rows themselves need not be kept."""

    def __init__(self, table: str, schema: pa.Schema) -> None:
        self._table = table
        self._sink = pa.BufferOutputStream()
        self._writer = pq.ParquetWriter(self._sink, schema, **_SETTINGS[table])
        self._rows = 0
        self._ranges: dict[str, tuple[int, int]] = {}

    def add(self, data: pa.Table) -> None:
        """Encode ``data``, in the schema given."""
        self._writer.write_table(data)
        self._rows += data.num_rows
        for name, (least, largest) in ranges(self._table, data).items():
            before = self._ranges.get(name, (least, largest))
            self._ranges[name] = (min(least, before[0]), max(largest, before[1]))

    def finish(self) -> tuple[pa.Buffer, int, dict[str, tuple[int, int]]]:
        """The file, its rows, and (least, largest) of the columns in ``RANGES``."""
        self._writer.close()
        return self._sink.getvalue(), self._rows, self._ranges


def ranges(table: str, data: pa.Table) -> dict[str, tuple[int, int]]:
    """(least, largest) of the columns in ``RANGES``; a column without a value is left out."""
    found = {}
    for name in RANGES[table]:
        both = pc.min_max(data[name]).as_py()
        if both["min"] is not None:
            found[name] = (both["min"], both["max"])
    return found


def sha256(content: pa.Buffer) -> str:
    """Hash of a file's content, in hex."""
    return hashlib.sha256(content).hexdigest()
