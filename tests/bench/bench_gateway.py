"""What a gateway costs: memory, a core, bytes on the wire and on the disk. ``python -m tests.bench gateway``.

The same process as on a Raspberry Pi, on this machine: CAN frames at full load of a 250 kbit/s bus through the socket reader
of the source "can", a position at 1 Hz, joined at 1 Hz, delivered to a real mosquitto, confirmed by a stub of the server.
"""

import asyncio
import json
import random
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import aiomqtt
import msgspec

from devices.actions import Action, Publish
from devices.config import Broker, GatewayConfig
from devices.core import GatewayCore
from devices.counters import Counters
from devices.wire import HEADER, Ack
from tests.bench.bench_wire import stop_go_trip
from tests.bench.result import Result

ROOT: Final = Path(__file__).resolve().parents[2]
SECONDS: Final = 20.0
TRIP_S: Final = 1800
FRAMES_PER_S: Final = 1850  # 250 kbit/s / 135 bit: extended identifier, 8 data bytes, usual stuffing, gap
TICK_S: Final = 0.01
MQTT_BYTES: Final = 4 + 2 + len("fleet/v1/acme/truck-01/up/readings") + 2 + 1  # PUBLISH, QoS 1, MQTT 5, no properties
_FRAME: Final = struct.Struct("=IB3x8s")
_EXTENDED: Final = 0x80000000
RATES: Final = {  # parameter group: frames/s, of those that are decoded
    0xF004: 100,
    0xF003: 20,
    0xFE6C: 20,
    0xFEF1: 10,
    0xFEF2: 10,
    0xFEC1: 1,
    0xFD09: 1,
    0xFEE9: 1,
    0xFEF5: 1,
    0xFEFC: 1,
}


def run() -> list[Result]:
    """Needs mosquitto; without it the figures of a running gateway are left out."""
    results = [_wire()]  # bench_outbox has the outbox
    mosquitto = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
    if mosquitto is None:
        print("mosquitto is not installed: CPU and memory of a running gateway are not measured", file=sys.stderr)
        return results
    with tempfile.TemporaryDirectory() as folder:
        got = asyncio.run(_busy(mosquitto, Path(folder)))
    core = 100 * got["cpu_s"] / got["seconds"]
    frames = got["frames"] / got["seconds"]
    day = got["written"] / got["seconds"] * 86_400
    return [
        *results,
        Result("gateway CPU at 1 Hz, CAN at full load", core, "% of a core", "target 3, on a Raspberry Pi"),
        Result("gateway CAN frames taken", frames, "frames/s", f"given {FRAMES_PER_S}"),
        Result("gateway readings", got["readings"] / got["seconds"], "readings/s", "1 Hz"),
        Result("gateway RSS at 1 Hz", got["rss"] / 2**20, "MiB", "target 64"),
        Result("gateway written to disk", day, "B/day", "target 35e6; batches of 10 s, each synced"),
    ]


def _wire() -> Result:
    """Bytes a reading of an 1800 s trip, batches of 60, everything from MQTT's header on."""
    config = GatewayConfig(device="truck-01", tenant="acme", broker=Broker(host="b"), batch_s=60, batch_max=60)
    core = GatewayCore(config, boot_id=1, rng=random.Random(1), counters=Counters())
    sent = readings = 0

    def tell(actions: list[Action], now: float) -> None:
        nonlocal sent, readings
        for action in actions:
            if isinstance(action, Publish) and action.topic.endswith("up/readings"):
                sent += len(action.payload) + MQTT_BYTES
                n, _, seq0 = HEADER.unpack_from(action.payload)[4:7]
                readings += n
                tell(core.on_puback(action.token, 0, now), now)
                tell(core.on_ack(msgspec.json.encode(Ack(1, seq0 + n)), now), now)

    tell(core.on_connected(0.0), 0.0)
    for i, sample in enumerate(stop_go_trip(1, TRIP_S)):
        tell(core.on_sample(sample, float(i)), float(i))
        tell(core.on_tick(i + 0.5), i + 0.5)
    tell(core.on_stop(float(TRIP_S)), float(TRIP_S))
    if readings != TRIP_S:
        raise RuntimeError(f"{readings} readings of {TRIP_S} were sent")
    return Result("gateway bytes a reading on the wire, 60 a batch, MQTT included", sent / readings, "B", "target 20")


async def _busy(mosquitto: str, folder: Path) -> dict[str, float]:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    conf = folder / "mosquitto.conf"
    conf.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nlog_dest stderr\n")
    broker = await asyncio.create_subprocess_exec(mosquitto, "-c", str(conf), stderr=subprocess.PIPE)
    try:
        if broker.stderr is None:
            raise RuntimeError("no pipe")
        async for line in broker.stderr:
            if b"running" in line:
                break
        ours, theirs = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        with ours, theirs:
            theirs.bind(("127.0.0.1", 0))
            ours.connect(theirs.getsockname())
            helpers = [asyncio.create_task(_confirm(port)), asyncio.create_task(_load(ours))]
            command = ["tests.bench.gateway_child", "busy", str(theirs.fileno()), str(port), str(SECONDS), str(folder)]
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", *command, cwd=ROOT, stdout=subprocess.PIPE, pass_fds=(theirs.fileno(),)
            )
            out, _ = await child.communicate()
            for helper in helpers:
                helper.cancel()
            await asyncio.wait(helpers)
    finally:
        broker.terminate()
        await broker.wait()
    got: dict[str, float] = json.loads(out)
    return got


async def _confirm(port: int) -> None:
    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.subscribe("fleet/v1/acme/truck-01/up/readings", qos=1)
        async for message in client.messages:
            boot_id, seq0, covered = HEADER.unpack_from(bytes(message.payload))[5:8]
            ack = msgspec.json.encode(Ack(boot_id, seq0 + covered))
            await client.publish("fleet/v1/acme/truck-01/dn/ack", ack, qos=1)


async def _load(sock: socket.socket) -> None:
    """Frames of a bus without a gap: the decoded groups at their usual rates, the rest of 60 others."""
    rng = random.Random(1)
    sock.setblocking(False)
    known = [pgn for pgn, rate in RATES.items() for _ in range(rate)]
    others = [0x0CF00000 | rng.randrange(0x200, 0x300) << 8 for _ in range(60)]
    loop = asyncio.get_running_loop()
    begun, sent = loop.time(), 0
    while True:
        due = round((loop.time() - begun) * FRAMES_PER_S)
        while sent < due:
            one = rng.randrange(FRAMES_PER_S)
            can_id = (0x18000000 | known[one] << 8) if one < len(known) else rng.choice(others)
            data = rng.randbytes(8) if one >= len(known) else bytes((rng.randrange(200),)) * 8
            try:
                sock.send(_FRAME.pack(can_id | _EXTENDED, 8, data))
            except BlockingIOError:
                break  # the reader is late: as on a bus, what it does not take in time is lost
            sent += 1
        await asyncio.sleep(TICK_S)
