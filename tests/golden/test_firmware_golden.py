"""Bytes that a node of any version has sent or kept still mean what they meant, on both sides."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from devices import firmware_record as fr
from devices.firmware import framing, record
from devices.firmware.hal_fake import FakeFlash
from devices.firmware.ring import Ring
from devices.firmware.state import State
from devices.firmware_record import Anchor, Beat, Head, Truck, TruckFlags, Warehouse, WarehouseFlags

FOLDER = Path(__file__).parent / "firmware"
NEVER_DELETED = {"v1_trucks", "v1_warehouses", "v1_beat_anchor", "v1_down", "v1_flash"}
VECTORS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
OF_KIND = {
    kind: [name for name, about in VECTORS.items() if about["what"] == kind] for kind in ("frames", "down", "flash")
}


def content(name: str) -> bytes:
    return (FOLDER / f"{name}.bin").read_bytes()


def meant(row: dict[str, Any]) -> fr.Record:
    """The record that a row of the JSON describes."""
    rest = dict(row)
    kind = rest.pop("kind")
    head = Head(rest.pop("boot_id"), rest.pop("seq"), rest.pop("t_ms"))
    if kind == "truck":
        return Truck(head, **rest | {"flags": TruckFlags(rest["flags"])})
    if kind == "warehouse":
        return Warehouse(head, tuple(rest["counts"]), rest["glitches"], WarehouseFlags(rest["flags"]))
    if kind == "beat":
        return Beat(head, **rest | {"flags": WarehouseFlags(rest["flags"])})
    return Anchor(head, rest["utc_ms"])


def test_no_vector_is_missing_or_changed() -> None:
    assert set(VECTORS) >= NEVER_DELETED
    for name, about in VECTORS.items():
        assert hashlib.sha256(content(name)).hexdigest() == about["sha256"], f"{name}: a golden vector is never changed"


@pytest.mark.parametrize("name", OF_KIND["frames"])
def test_the_gateway_reads_what_a_node_sent(name: str) -> None:
    got = [fr.decode(frame) for frame in fr.FrameReader().feed(content(name))]
    assert got == [meant(row) for row in VECTORS[name]["found"]]


@pytest.mark.parametrize("name", OF_KIND["frames"])
def test_both_sides_write_the_same_again(name: str) -> None:
    """Of the newest version only; older ones are read, not written."""
    records = framing.Reader().feed(content(name))
    assert all(record.fits(data) for data in records)
    assert b"".join(framing.encode(data) for data in records) == content(name)
    assert b"".join(fr.frame(fr.encode(meant(row))) for row in VECTORS[name]["found"]) == content(name)


@pytest.mark.parametrize("name", OF_KIND["down"])
def test_the_node_reads_what_a_gateway_sent(name: str) -> None:
    row = VECTORS[name]["found"]
    (frame,) = framing.Reader().feed(content(name))
    assert framing.unpack_down(frame) == (row["flags"], row["ring_id"], row["acked"], row["resume"], row["utc_ms"])
    mine = fr.encode_down(row["ring_id"], acked=row["acked"], resume=row["resume"], utc_ms=row["utc_ms"])
    assert fr.frame(mine) == content(name)


@pytest.mark.parametrize("name", OF_KIND["flash"])
def test_a_newer_firmware_finds_what_an_older_one_kept(name: str) -> None:
    found, data = VECTORS[name]["found"], content(name)
    flash = FakeFlash(found["sector_size"], len(data) // found["sector_size"])
    flash.data[:] = data
    state = State(flash, 0)
    state.load()
    assert (state.ring_id, state.acked, state.tare) == (found["ring_id"], found["acked"], found["tare"])
    assert [list(anchor) for anchor in state.anchors] == found["anchors"]
    ring = Ring(flash, found["state_sectors"], flash.sectors - found["state_sectors"])
    ring.mount(1)
    assert (ring.ring_id, ring.next) == (found["ring_id"], found["next"])
    kept = []
    while (kept_data := ring.next_record()) is not None:
        kept.append(fr.decode(kept_data))
    assert kept == [meant(row) for row in found["records"]]
    assert ring.append(record.TRUCK, 1, 0, bytes(20), 0) == found["next"]


@pytest.mark.parametrize("name", OF_KIND["frames"])
def test_a_flipped_bit_never_changes_a_record(name: str) -> None:
    data, good = content(name), [meant(row) for row in VECTORS[name]["found"]]
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        got = [fr.decode(frame) for frame in fr.FrameReader().feed(bytes(damaged))]
        intact = [record for record in got if not isinstance(record, fr.Refused)]
        assert len(intact) < len(good) or bit // 8 == len(data) - 1
        assert all(record in good for record in intact)
