"""The registry as it lies in a lake: back from dimension tables to the fleet that the kernels read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pyarrow.parquet as pq

from storage.errors import StorageError
from storage.inventory import active
from stream.factors import ClassTable, FactorSet
from stream.fleet import Fleet, Route, Vehicle, Warehouse, build_fleet
from stream.market import MarketFactor
from stream.places import Place
from stream.regions import Region

T = TypeVar("T")


def _rows(lake: Path, table: str, files: Mapping[str, str], kind: type[T], *, optional: bool = False) -> list[T]:
    """Rows of a dimension table; a null is a field left at its default. Lakes from before it may lack an ``optional`` one."""
    if optional and table not in files and not (lake / table / "_delta_log").is_dir():
        return []
    name = files.get(table) or next(iter(active(lake, table)), None)
    if name is None:
        raise StorageError(lake / table, "is not in the lake: nothing can be computed without the registry")
    path = lake / table / name
    try:
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    except (OSError, ValueError) as e:
        raise StorageError(path, f"cannot be read: {e}") from e
    found: list[T] = msgspec.convert(
        [{k: v for k, v in row.items() if v is not None} for row in rows],
        list[kind],  # type: ignore[valid-type]
    )
    return found


def fleet_of(lake: Path, files: Mapping[str, str], factors: FactorSet, classes: ClassTable) -> Fleet:
    """The fleet of the registry in ``files`` (file by dimension table; the newest where one is not told), under ``factors``.

    Raises StorageError, ValueError as ``build_fleet``.
    """
    return build_fleet(
        _rows(lake, "vehicles", files, Vehicle),
        _rows(lake, "warehouses", files, Warehouse),
        _rows(lake, "routes", files, Route),
        factors,
        classes,
        _rows(lake, "places", files, Place, optional=True),
        _rows(lake, "regions", files, Region, optional=True),
        market=_rows(lake, "market_factors", files, MarketFactor, optional=True),
    )
