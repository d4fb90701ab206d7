"""Lives of a truck's and a warehouse's node in memory. Prints what they send, as hex, and what their flash holds.

The same file runs on CPython, on MicroPython from source, and on MicroPython from compiled files; the output must not differ.
"""
# mypy: ignore-errors

import sys
from binascii import crc32, hexlify

from firmware.framing import HAS_ACKED, HAS_RESUME, HAS_UTC, Reader, encode
from firmware.hal_fake import FakeFlash, FakeHal, PowerCutError, down_frame
from firmware.load import to_kg
from firmware.node import Node
from firmware.settings import TruckSettings, WarehouseSettings
from firmware.truck_node import Truck
from firmware.warehouse_node import Warehouse

UTC_MS = 1_767_225_600_000


def say(name, value):
    print(name + " " + str(value))


def sent(name, hal):
    say(name, hexlify(hal.sent).decode())
    hal.sent = b""


def flash(name, hal):
    say(name, hex(crc32(bytes(hal.flash.data)) & 0xFFFFFFFF))


def bus(hal, t):
    """Frames of a truck that drives off."""
    speed = min(80 * 256, 13 * t)
    distance = 24_000_000 + t // 5
    hal.frames = [
        (0x18FEF100, b"\xff" + speed.to_bytes(2, "little") + b"\xff" * 5),
        (0x18FEF200, (300 + t % 50).to_bytes(2, "little") + b"\xff" * 6),
        (0x18FD0900, b"\xff" * 4 + (123_456_000 + 8 * t).to_bytes(4, "little")),
        (0x18FEC1EE, distance.to_bytes(4, "little") + b"\xff" * 4),
        (0x18FEC117, (7_500).to_bytes(4, "little") + b"\xff" * 4),
        (0x0CF00400, b"\xff\xff\xff" + (9_600 + t % 400).to_bytes(2, "little") + b"\xff" * 3),
        (0x18FE6CEE, b"\xff" * 6 + (0xFFFF if t % 200 < 50 else speed).to_bytes(2, "little")),
        (0x18FE7000, b"\xff\xff" + (0xFE00 if t < 300 else 3_145).to_bytes(2, "little")),
        (0x18FEF2, b"\x01"),
    ]


def truck():
    settings = TruckSettings()
    settings.has_cell = settings.has_axle = True
    settings.cell_zero, settings.cell_kg, settings.cell_counts = -20_000, 5_000, 400_000
    memory = FakeFlash(256, 9)
    steps = 0
    for start in range(6):
        memory.cut_in = -1
        hal = FakeHal(memory, 100 + start)
        hal.watchdog_start = start == 2
        hal.ticks_at_start = (1 << 30) - 4_000 if start == 1 else 0
        node = Node(hal, Truck(settings), settings.interval_ms, settings.baud)
        node.begin()
        memory.cut_in = 700 * start + 41
        try:
            for _ in range(400):
                steps += 1
                bus(hal, steps)
                hal.cell = [(-20_000 + 985_600 + steps % 7 * 100) & 0xFFFFFF]
                hal.mv = 2_500 + steps % 11 if steps % 300 else 0
                hal.tare = 600 < steps < 700
                if steps % 20 == 0:
                    flags = HAS_ACKED | HAS_UTC | (HAS_RESUME if steps % 200 == 0 else 0)
                    acked = max(0, node.ring.next - 3)
                    hal.received += down_frame(flags, node.ring.ring_id, acked, node.ring.acked, UTC_MS + 50 * steps)
                if steps % 33 == 0:
                    hal.received += b"\x07garbage\x00\x02"
                node.step()
                hal.end_of_conversion()
                hal.now_ms += 50
        except PowerCutError:
            say("cut", steps)
        sent("truck", hal)
        flash("flash", hal)
        say("fed", hal.fed)


def warehouse():
    settings = WarehouseSettings()
    settings.inputs = 3
    memory = FakeFlash(512, 6)
    for start in range(3):
        hal = FakeHal(memory, 200 + start)
        node = Node(hal, Warehouse(settings), 1_000, settings.baud)
        node.begin()
        for step in range(2_000):
            if step % 10 == 0:
                for closed in (True, False, True):
                    hal.edge(0, closed)
            elif step % 10 == 5:
                hal.edge(0, False)
            if step % 100 == 7:
                hal.edge(1, True)
            elif step % 100 == 60:
                hal.edge(1, False)
            if step % 50 == 3:
                hal.edge(2, True)
                hal.edge(2, False)
            if step % 100 == 0:
                hal.received += down_frame(HAS_ACKED | HAS_RESUME, node.ring.ring_id, 0, node.ring.acked, 0)
            node.step()
            hal.now_ms += 10
        sent("warehouse", hal)
        flash("flash", hal)


def numbers():
    """Where integers of the two Pythons might part: negative division, wide products, all byte values in a frame."""
    say(
        "kg", [to_kg(raw, 13, 10_007, counts) for raw in (-8_388_607, -1, 0, 12, 8_388_606) for counts in (999_983, -7)]
    )
    data = bytes(range(253))
    frame = encode(data)
    say("cobs", hexlify(frame).decode())
    say("read", [len(f) for f in Reader().feed(frame + b"\x03ab\x00\x01\x00" + encode(b"\x00\x01"))])


numbers()
truck()
warehouse()
print("done", file=sys.stdout)
