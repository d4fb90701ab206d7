"""The source on a CAN bus: python-can's virtual bus and a socket that speaks as SocketCAN does; time moves by script."""

import asyncio
import errno
import itertools
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from devices.config import ConfigError
from devices.counters import Counters
from devices.source_can import MANY_ERRORS, POLL_S, SILENT_S, Options, SocketBus, make, open_bus
from devices.sources import Context
from devices.wire import Sample

T0 = 1_800_000_000 * 10**9
EEC1, LFE, CCVS, VDHR = 0x0CF00400, 0x18FEF200, 0x18FEF100, 0x18FEC117
CHANNELS = itertools.count()
IDLE = bytes.fromhex("FFFF7DC012FFFFFF")  # 600 rpm, no torque
BURN = bytes.fromhex("2800FFFFFFFFFFFF")  # 2 L/h


class OverError(Exception):
    """The script has ended."""


async def collect(source: Any, into: list[Sample]) -> None:
    async for sample in source.samples():
        into.append(sample)  # noqa: PERF401  what came before a fault counts


@dataclass
class Script:
    """Both clocks, moved by sleeping; what is due is done on the way."""

    steps: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    end_s: float = 10.0
    now_s: float = 0.0

    def at(self, second: float, *actions: Callable[[], None]) -> None:
        self.steps += [(second, action) for action in actions]
        self.steps.sort(key=lambda step: step[0])

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        while self.steps and self.steps[0][0] <= self.now_s:
            self.steps.pop(0)[1]()
        if self.now_s > self.end_s:
            raise OverError

    def context(self, counters: Counters) -> Context:
        return Context(
            name="truck",
            monotonic=lambda: self.now_s,
            now_ns=lambda: T0 + round(self.now_s * 1e9),
            sleep=self.sleep,
            counters=counters,
        )


@dataclass
class Truck:
    """The other end of a virtual bus."""

    can: Any
    bus: Any
    channel: str
    script: Script
    counters: Counters

    def send(self, can_id: int, data: bytes, **flags: bool) -> Callable[[], None]:
        message = self.can.Message(arbitration_id=can_id, data=data, **{"is_extended_id": True} | flags)
        return lambda: self.bus.send(message)

    def source(self, **options: Any) -> Any:
        options = {"interface": "virtual", "channel": self.channel} | options
        return make(options, self.script.context(self.counters))

    def run(self, source: Any = None, **options: Any) -> list[Sample]:
        source = source or self.source(**options)
        got: list[Sample] = []
        with pytest.raises(OverError):
            asyncio.run(collect(source, got))
        return got

    def fault(self, source: Any) -> str:
        with pytest.raises(OSError, match=r".") as caught:
            asyncio.run(collect(source, []))
        return str(caught.value)


@pytest.fixture
def truck() -> Iterator[Truck]:
    can = pytest.importorskip("can", reason="python-can is not installed (extra can)")
    channel = f"test-{next(CHANNELS)}"
    bus = can.Bus(interface="virtual", channel=channel)
    yield Truck(can, bus, channel, Script(), Counters())
    bus.shutdown()


def test_a_reading_a_second_with_the_time_of_its_newest_value(truck: Truck) -> None:
    for i in range(30):
        truck.script.at(0.1 * (i + 1), truck.send(EEC1, IDLE))
    truck.script.at(1.5, truck.send(LFE, BURN))
    got = truck.run()
    assert [set(s.values) for s in got] == [
        {"engine_speed_rpm", "engine_torque_pct"},
        {"engine_speed_rpm", "engine_torque_pct", "fuel_rate_lph"},
        {"engine_speed_rpm", "engine_torque_pct", "fuel_rate_lph"},
    ]
    assert got[1].values == {"engine_speed_rpm": 600.0, "engine_torque_pct": 0.0, "fuel_rate_lph": 2.0}
    arrived = [(s.time_ns - T0) / 1e9 for s in got]
    assert arrived == pytest.approx([1.0, 2.0, 3.0], abs=2 * POLL_S + 1e-6)
    assert truck.counters["can_frames"] == 31


def test_a_silent_bus_gives_no_readings_and_is_heard_when_it_wakes(truck: Truck) -> None:
    truck.script.end_s = 60.0
    truck.script.at(1.1, truck.send(EEC1, IDLE))
    truck.script.at(50.1, truck.send(EEC1, IDLE))
    got = truck.run()
    assert [round((s.time_ns - T0) / 1e9) for s in got] == [1, 50]
    assert truck.counters["can_silent"] == 1


def test_the_pace_is_configurable(truck: Truck) -> None:
    truck.script.end_s = 10.2
    for i in range(100):
        truck.script.at(0.1 * (i + 1) - 0.02, truck.send(EEC1, IDLE))
    assert len(truck.run(sample_s=0.5)) == 20


def test_nothing_is_ever_sent(truck: Truck) -> None:
    truck.script.at(0.1, truck.send(0x1CECF900, bytes([16, 17, 0, 3, 3, 0xEC, 0xFE, 0])))  # asks for a CTS
    truck.script.at(0.2, truck.send(0x18EAFF00, b"\xec\xfe\x00"))  # a request to all
    truck.run()
    assert truck.bus.recv(timeout=0) is None


def test_what_is_not_j1939_is_counted(truck: Truck) -> None:
    truck.script.at(
        0.1,
        truck.send(0x123, b"\x01", is_extended_id=False),
        truck.send(EEC1, b"", is_remote_frame=True),
        truck.send(EEC1, IDLE),
        truck.send(0x18FECA00, b"\x00" * 8),
    )
    assert len(truck.run()) == 1
    assert truck.counters.snapshot() == {"can_frame_not_j1939": 2, "can_frames": 2, "can_pgn_unknown": 1}


def test_another_vehicle_s_readings_are_withheld_until_it_is_the_right_one(truck: Truck) -> None:
    def vin(text: bytes) -> list[Callable[[], None]]:
        parts = [bytes([n + 1]) + text.ljust(21, b"\xff")[7 * n : 7 * n + 7] for n in range(3)]
        head = bytes([32, 18, 0, 3, 255, 0xEC, 0xFE, 0])
        return [truck.send(0x1CECFF00, head), *(truck.send(0x1CEBFF00, p) for p in parts)]

    for second in (1, 2, 3, 4, 5, 6):
        truck.script.at(second + 0.1, truck.send(EEC1, IDLE))
    truck.script.at(2.5, *vin(b"WDB9634031L999999*"))
    truck.script.at(5.5, *vin(b"WDB9634031L123456*"))
    source = truck.source(vin="WDB9634031L123456")
    got: list[Sample] = []
    with pytest.raises(OSError, match="the bus is that of WDB9634031L999999, the configuration says WDB9634031L123456"):
        asyncio.run(collect(source, got))
    assert source.vin == "WDB9634031L999999"
    with pytest.raises(OverError):
        asyncio.run(collect(source, got))
    assert [round((s.time_ns - T0) / 1e9) for s in got] == [1, 5, 6]
    assert source.vin == "WDB9634031L123456"
    assert truck.counters.by_label("can_vin_other") == {"WDB9634031L999999": 1}


def test_bus_off_is_said_and_the_bus_is_read_again(truck: Truck) -> None:
    source = truck.source()
    truck.script.at(0.5, truck.send(0x40, b"\x00" * 8, is_error_frame=True))
    assert "is bus-off" in truck.fault(source)
    truck.script.at(3.1, truck.send(EEC1, IDLE))
    assert len(truck.run(source)) == 1


def test_only_errors_are_said_but_a_last_gasp_is_not(truck: Truck) -> None:
    error = truck.send(0x08, b"\x00" * 8, is_error_frame=True)
    truck.script.end_s = 3 * SILENT_S
    truck.script.at(1.0, truck.send(EEC1, IDLE))
    truck.script.at(2.0, *[error] * (MANY_ERRORS - 1))
    truck.run()
    assert truck.counters["can_bus_error"] == MANY_ERRORS - 1
    truck.script.end_s, start_s = 6 * SILENT_S, truck.script.now_s
    truck.script.at(start_s + 1.0, *[error] * MANY_ERRORS)
    assert "gives only bus errors" in truck.fault(truck.source())


def test_counters_stay_with_their_sender_over_a_restart(truck: Truck) -> None:
    source = truck.source()
    distance = bytes.fromhex("40420F00FFFFFFFF")
    truck.script.at(0.5, truck.send(VDHR, distance), truck.send(0x18FEC1EE, distance))
    truck.script.at(1.5, truck.send(0x40, b"", is_error_frame=True))
    truck.fault(source)
    truck.script.at(3.5, truck.send(0x18FEC1EE, distance))
    assert truck.run(source) == []
    assert truck.counters.by_label("can_source_conflict") == {"917": 2}


@pytest.mark.parametrize(
    ("options", "key", "mend"),
    [
        ({"chanel": "can0"}, "source.truck.chanel", "did you mean channel?"),
        ({"interface": "socketcann"}, "source.truck.interface", "socketcan"),
        ({"hold_s": {"fuel": 1}}, "source.truck.hold_s", "'fuel' is no signal of the bus"),
        ({"hold_s": {"fuel_rate_lph": -1}}, "source.truck.hold_s", ">= 0"),
        ({"battery_positive": "yes"}, "source.truck.battery_positive", "what a positive battery current means"),
        ({"vin": "123"}, "source.truck.vin", "the vehicle's VIN"),
        ({"sample_s": 0}, "source.truck.sample_s", ">= 0.1"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], key: str, mend: str) -> None:
    pytest.importorskip("can", reason="python-can is not installed (extra can)")
    with pytest.raises(ConfigError) as caught:
        make(options, Context(name="truck"))
    assert caught.value.key.startswith(key)
    assert mend in caught.value.mend


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "can", None)
    with pytest.raises(ConfigError, match=r"pip install 'fleetco2\[can\]'"):
        make({}, Context(name="truck"))


def test_a_missing_interface_is_said_with_its_mend() -> None:
    pytest.importorskip("can", reason="python-can is not installed (extra can)")
    with pytest.raises(OSError, match=r"SocketCAN|there is no interface can77") as caught:
        open_bus(Options(channel="can77"))
    has_socketcan = caught.value.__cause__ is not None and getattr(caught.value.__cause__, "errno", 0) == errno.ENODEV
    assert ("ip link set can77 up type can bitrate 250000 listen-only on" in str(caught.value)) == has_socketcan


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (errno.ENODEV, "there is no interface can0: is the CAN adapter fitted?"),
        (errno.ENETDOWN, "can0 is down; set it up with: ip link set can0 up type can bitrate 250000 listen-only on"),
        (errno.EPERM, "no permission for can0"),
        (errno.EAFNOSUPPORT, "this kernel has no SocketCAN"),
        (errno.EIO, "socketcan can0: "),
    ],
)
def test_faults_of_the_kernel_in_plain_words(code: int, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise OSError(code, "as the kernel says")

    library = SimpleNamespace(Bus=refuse, CanError=ValueError)
    monkeypatch.setitem(sys.modules, "can", library)
    with pytest.raises(OSError, match=r".") as caught:
        open_bus(Options())
    assert str(caught.value).startswith(said)


def can_frame(can_id: int, data: bytes, length: int | None = None) -> bytes:
    """struct can_frame of linux/can.h."""
    return struct.pack("=IB3x8s", can_id, len(data) if length is None else length, data.ljust(8, b"\x00"))


def test_socketcan_s_own_socket_is_read_after_python_can_has_opened_it(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    opened = SimpleNamespace(socket=theirs, shutdown=theirs.close)
    monkeypatch.setitem(sys.modules, "can", SimpleNamespace(Bus=lambda **_: opened, CanError=ValueError))
    with kernel:
        kernel.send(can_frame(0x80000000 | EEC1, IDLE))
        bus = open_bus(Options())
        assert theirs.fileno() == -1, "nothing of python-can's is left that could send"
        assert bus.read().frames == [(EEC1, IDLE)]
        bus.close()


def test_frames_straight_from_a_socket() -> None:
    kernel, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    bus = SocketBus(ours)
    with kernel:
        assert bus.read().frames == []
        kernel.send(can_frame(0x80000000 | EEC1, IDLE))
        kernel.send(can_frame(0x80000000 | LFE, b"\x28\x00"))
        kernel.send(can_frame(0x123, b"\x01"))
        kernel.send(can_frame(0xC0000000 | EEC1, b""))
        kernel.send(can_frame(0x80000000 | EEC1, IDLE, length=9))
        kernel.send(b"short")
        kernel.send(can_frame(0x20000008, b"\x00" * 8))
        look = bus.read()
        assert look.frames == [(EEC1, IDLE), (LFE, b"\x28\x00")]
        assert (look.other, look.errors, look.bus_off) == (4, 1, False)
        kernel.send(can_frame(0x20000040, b"\x00" * 8))
        assert bus.read().bus_off
        kernel.close()
        bus.close()
        with pytest.raises(OSError, match=r"."):
            bus.read()
