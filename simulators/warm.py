"""Compile every kernel once, so that no later start waits for the compiler."""

import numpy as np

from devices.wire import Sample, encode_batch, topic
from ingest.decode import Message, decode
from simulators.fleet import build
from simulators.warehouse import Warehouse
from simulators.warehouse_spec import from_registry
from storage.factor_files import class_table, factor_set
from stream.columns import READING
from stream.fleet import Vehicle, build_fleet
from stream.pipeline import empty_columns, start, step


def warm() -> None:
    """Run one reading through each kernel: simulator, decoder, step."""
    world = build("demo", 1)
    world.advance(1)
    row = {k: str(v) for k, v in world.registry()["warehouses"][0].items()}
    site = Warehouse(from_registry(row), seed=1, start_s=10**9)
    site.advance(10**9 + 1)
    site.read()
    fleet = build_fleet(
        [Vehicle("a", "d-a", "artic_40t", "diesel_b7")], [], [], factor_set("fleetco2-2025.2"), class_table()
    )
    frame = encode_batch("d-a", 1, 0, [Sample(10**18, {"speed_kmh": 1.0})])
    decoded = decode(
        [Message(topic("abc", "d-a", "up/readings"), frame, 10**18)], fleet.device_index, {"abc"}, earliest_ns=0
    )
    state, _ = step(start(fleet), decoded.columns)
    empty = empty_columns(READING, 1)
    empty["merged"][:] = 1
    empty["seq"][:] = np.int64(1)
    step(state, empty)
