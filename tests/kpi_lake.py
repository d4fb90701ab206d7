"""Hand-made trips, events and a registry, for tests of what is made from them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from storage.lake import Commit, Lake
from storage.registry import Registry, write_dimensions
from storage.schema import Names, empty, to_arrow
from stream.columns import TABLES, UNKNOWN
from tests.lake_data import FACTOR_SET

HOUR = 3_600 * 10**9


def rows_as(table: str, names: Names, *rows: dict[str, Any]) -> pa.Table:
    """Rows of ``table`` from a few values each: codes by name; what is not given is unknown where that may be, else 0."""
    columns: dict[str, Any] = {}
    for c in TABLES[table]:
        values: list[Any] = []
        for row in rows:
            value = row.get(c.name)
            if c.dtype == "code":
                known = c.codes or tuple(getattr(names, c.names))
                values.append(known.index(value) if value is not None else (-1 if c.nullable else 0))
            elif value is None:
                values.append(np.nan if c.dtype == "float64" else UNKNOWN if c.nullable else 0)
            else:
                values.append(value)
        dtype = {"code": np.int32, "float64": np.float64, "bool": np.bool_, "int32": np.int32}.get(c.dtype, np.int64)
        columns[c.name] = np.array(values, dtype)
    return to_arrow(table, columns, names)


def lake_of(path: Path, names: Names, registry: Registry, **tables: list[dict[str, Any]]) -> Path:
    """A lake of one commit with these rows."""
    landed = {t: rows_as(t, names, *tables.get(t, [])) for t in TABLES}
    others = {t: empty(t) for t in ("quarantine", "batches", "gateways")}
    with Lake.open(path, create=True) as lake:
        lake.recover()
        write_dimensions(lake, registry)
        lake.commit(Commit(**landed, **others, factor_set=FACTOR_SET, state=b"state"))
    return path
