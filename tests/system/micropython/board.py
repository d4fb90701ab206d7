"""``hal_stm32`` against a ``machine`` of memory: the node runs as on a board. Prints what it sends and what it kept."""
# mypy: ignore-errors

import sys
from binascii import crc32, hexlify

import fake_machine

sys.modules["machine"] = fake_machine
real = sys.modules.get("time"), sys.modules.get("os")
sys.modules["time"] = fake_machine.Time()
sys.modules["os"] = fake_machine.Os()

from firmware.framing import HAS_ACKED, HAS_RESUME, HAS_UTC  # noqa: E402
from firmware.hal_fake import down_frame  # noqa: E402
from firmware.hal_stm32 import Stm32Hal  # noqa: E402
from firmware.node import Node  # noqa: E402
from firmware.settings import TruckSettings, WarehouseSettings  # noqa: E402
from firmware.truck_node import Truck  # noqa: E402
from firmware.warehouse_node import Warehouse  # noqa: E402

m = fake_machine
EXT = m.CAN.FLAG_EXT_ID


def run(node, passes):
    for _ in range(passes):
        node.step()
        m.now_ms += 10


def told(name):
    print(name, hexlify(m.uart_out).decode())
    m.uart_out = b""


settings = TruckSettings()
settings.has_cell = settings.has_axle = True
hal = Stm32Hal(settings.baud, settings.interval_ms, True)
node = Node(hal, Truck(settings), settings.interval_ms, settings.baud)
node.begin()
m.adc_u16 = 65_535 * 1_250 // 3_300
pulses = []
for second in range(120):
    m.can_frames += [
        (0x18FEF200, bytes((44 + second, 1)) + b"\xff" * 6, EXT, 0),
        (0x18FEF200, b"\x09\x00" + b"\xff" * 6, EXT | m.CAN.FLAG_RTR, 0),
        (0x0FF, b"\x01\x02", 0, 0),
        (0x18FEF100, b"\xff\x00\x00" + b"\xff" * 5, EXT, m.CAN.RECV_ERR_OVERRUN if second == 5 else 0),
        (0x18FECA00, b"\x00" * 8, EXT, 0),
    ]
    if second == 7:
        m.can_state = m.CAN.STATE_BUS_OFF
    for _ in range(10):
        m.hx_bits = [123_400]
        run(node, 10)
        pulses.append(m.hx_next())
    if second % 10 == 9:
        m.uart_in += down_frame(HAS_ACKED | HAS_RESUME | HAS_UTC, node.ring.ring_id, 0, 0, 1_767_225_600_000 + m.now_ms)
told("truck")
print("restarts", m.can_restarts, "feeds", len(m.fed), "pulses", sorted(set(pulses)), "irq", m.irq_depth)
print("flash", hex(crc32(bytes(m.memory)) & 0xFFFFFFFF), "records", node.ring.next, "failed", node.ring.failed_writes)
assert m.chip.pages > node.ring.next + 15, "one record in six lies on two pages"

meter = WarehouseSettings()
meter.inputs = 2
meter.interval_ms = 1_000
node = Node(Stm32Hal(meter.baud, meter.interval_ms, False), Warehouse(meter), meter.interval_ms, meter.baud)
node.begin()
for _ in range(50):
    m.pins["F13"].edge(0)
    run(node, 5)
    m.pins["F13"].edge(1)
    run(node, 5)
m.uart_in += down_frame(HAS_RESUME, node.ring.ring_id, 0, node.ring.next - 2, 0)
run(node, 20)
told("warehouse")

m.chip.give = lambda size: b"\x00" * size
try:
    Stm32Hal(meter.baud, meter.interval_ms, False)
except OSError as error:
    print("without a flash:", error)
print("done")
