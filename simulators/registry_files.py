"""A world's registry as the CSV files that the consumer reads."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path


def write_registry(folder: Path, rows: Mapping[str, Sequence[Mapping[str, object]]]) -> None:
    """``vehicles.csv``, ``warehouses.csv``, ``routes.csv``, ``places.csv`` and ``regions.csv`` from rows by table name."""
    folder.mkdir(parents=True, exist_ok=True)
    headers = {
        "vehicles": "vehicle,device,vehicle_class,fuel,route,tare_kg,gvw_kg,cda_m2,crr,p_rated_kw,tank_l,grid_zone,vin,pallet_positions,ref_torque_nm",
        "warehouses": "warehouse,device,name,lat_deg,lon_deg,area_m2,pallet_positions,grid_zone",
        "routes": "route,name,origin,destination,stage,number",
        "places": "place,name,kind,lat_deg,lon_deg,radius_m",
        "regions": "region,name,polygon",
    }
    for table, header in headers.items():
        with (folder / f"{table}.csv").open("w", newline="", encoding="utf-8") as file:
            found = rows.get(table, ())
            columns = dict.fromkeys([*header.split(","), *(name for row in found for name in row)])
            writer = csv.DictWriter(file, list(columns), lineterminator="\n")
            writer.writeheader()
            writer.writerows(found)
