"""A registry as the CSV files that the consumer reads."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

_REQUIRED: Final = {  # columns of a file without rows
    "vehicles": "vehicle,device,vehicle_class,fuel",
    "warehouses": "warehouse,device,name,lat_deg,lon_deg,grid_zone",
    "routes": "route,name",
}


def write_registry(folder: Path, rows: Mapping[str, Sequence[Mapping[str, object]]]) -> None:
    """One file per table: the three that must be there, and what else ``rows`` holds. Columns are those that its rows have."""
    folder.mkdir(parents=True, exist_ok=True)
    for table in {**_REQUIRED, **rows}:
        found = rows.get(table, ())
        if not found and table not in _REQUIRED:
            continue
        columns = list(dict.fromkeys(name for row in found for name in row)) or _REQUIRED[table].split(",")
        with (folder / f"{table}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(found)
