"""A world's registry as the CSV files that the consumer reads."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path


def write_registry(folder: Path, rows: Mapping[str, Sequence[Mapping[str, object]]]) -> None:
    """``vehicles.csv``, ``warehouses.csv`` and ``routes.csv`` from rows by table name."""
    folder.mkdir(parents=True, exist_ok=True)
    headers = {
        "vehicles": "vehicle,device,vehicle_class,fuel,route,tare_kg,gvw_kg,cda_m2,crr,p_rated_kw,tank_l,grid_zone,vin,public_key",
        "warehouses": "warehouse,device,name,lat_deg,lon_deg,area_m2,pallet_positions,grid_zone,public_key",
        "routes": "route,name,origin,destination,stage",
    }
    for table, header in headers.items():
        with (folder / f"{table}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, header.split(","), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows.get(table, ()))
