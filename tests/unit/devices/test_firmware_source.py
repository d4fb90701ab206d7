"""The source "firmware": options, meaning of the fields, the port, and a node on the other end of the line."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from devices import firmware_record as fr
from devices.config import ConfigError, convert
from devices.firmware.settings import WarehouseSettings
from devices.firmware.warehouse_node import Warehouse as WarehouseSensors
from devices.firmware_record import Beat, Head, Truck, TruckFlags, Warehouse, WarehouseFlags
from devices.source_firmware import FirmwareSource, Options, Port, PortError, make, values_of
from devices.sources import Context
from devices.wire import Sample
from tests.firmware_world import T0_NS, World, frame


def options(**more: Any) -> Options:
    return convert({"port": "/dev/none", **more}, Options, "gateway.toml")


NO_FLAGS = TruckFlags(0)


def truck(flags: TruckFlags = NO_FLAGS, **fields: int | None) -> Truck:
    nothing = Truck(Head(1, 0, 0), None, None, None, None, None, None, None, None, flags)
    return replace(nothing, **fields)  # type: ignore[arg-type]


def test_a_truck_s_fields_in_the_units_of_the_wire() -> None:
    record = truck(
        fuel_total=123_456_789, odometer=24_000_001, fuel_rate=361, speed=20_481, rpm=9_601, gross_weight=3_145
    )
    assert values_of(record, options()) == {
        "fuel_total_hr_l": 123_456.789,
        "odometer_m": 120_000_005.0,
        "fuel_rate_lph": 18.05,
        "speed_kmh": 80.00390625,
        "engine_speed_rpm": 1200.125,
        "gross_weight_kg": 31_450.0,
    }


def test_a_coarse_total_is_another_signal_and_absent_is_absent() -> None:
    assert values_of(truck(TruckFlags.FUEL_COARSE, fuel_total=3), options()) == {"fuel_total_l": 1.5}
    assert values_of(truck(TruckFlags.FUEL_COARSE), options()) == {}


@pytest.mark.parametrize(
    ("kg", "stable", "expected"),
    [(12_340, True, 19_340), (12_340, False, None), (None, True, None), (-15, True, 7_000)],
)
def test_a_load_counts_while_it_is_steady_and_only_where_it_is_told_what_it_weighs(
    kg: int | None, stable: bool, expected: float | None
) -> None:
    record = truck(TruckFlags.LOAD_STABLE if stable else TruckFlags(0), load_kg=kg)
    given = options(load_cell="gross_weight_kg", load_cell_add_kg=7_000)
    assert values_of(record, given).get("gross_weight_kg") == expected
    assert values_of(record, options()) == {}


def test_far_below_zero_is_no_empty_truck_but_a_wrong_zero() -> None:
    given = options(axle="cargo_kg")
    assert values_of(truck(TruckFlags.AXLE_STABLE, axle_kg=-400), given) == {"cargo_kg": 0}
    assert values_of(truck(TruckFlags.AXLE_STABLE, axle_kg=-401), given) == {}


def test_the_bus_s_own_weight_is_believed_before_a_sensor() -> None:
    record = truck(TruckFlags.LOAD_STABLE, gross_weight=2_000, load_kg=5_000)
    assert values_of(record, options(load_cell="gross_weight_kg")) == {"gross_weight_kg": 20_000.0}


def test_pulses_become_the_meter_s_reading() -> None:
    pulses = [
        {"signal": "grid_import_kwh", "per_unit": 800, "start": 1234.5},
        {},
        {"signal": "gas_kwh_gross", "per_unit": 0.1},
    ]
    record = Warehouse(Head(1, 0, 0), (1_600, 99, None), 0, WarehouseFlags(0))
    assert values_of(record, options(pulses=pulses)) == {"grid_import_kwh": 1236.5}
    full = Warehouse(Head(1, 0, 0), (0, 0, 7), 0, WarehouseFlags(0))
    assert values_of(full, options(pulses=pulses)) == {"grid_import_kwh": 1234.5, "gas_kwh_gross": 70.0}
    assert values_of(full, options()) == {}


@pytest.mark.parametrize(
    ("given", "key", "mend"),
    [
        ({}, "source.node.port", "is missing"),
        ({"port": "x", "bauds": 9600}, "source.node.bauds", "did you mean baud"),
        ({"port": "x", "load_cell": "payload"}, "source.node.load_cell", '"cargo_kg"'),
        ({"port": "x", "pulses": [{"signal": "grid_import_kw"}]}, "source.node.pulses[0].signal", "'grid_import_kwh'"),
        ({"port": "x", "pulses": [{"signal": "speed_kmh"}]}, "source.node.pulses[0].signal", "is no counter"),
        (
            {"port": "x", "pulses": [{"signal": "pv_kwh"}, {}, {"signal": "pv_kwh"}]},
            "source.node.pulses[0].signal",
            "two inputs count pv_kwh",
        ),
        ({"port": "x", "pulses": [{}] * 4}, "source.node.pulses", "length"),
        ({"port": "x", "load_cell": "cargo_kg", "axle": "cargo_kg"}, "source.node.axle", "weighs cargo_kg already"),
    ],
)
def test_what_is_wrong_is_named(given: dict[str, Any], key: str, mend: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(given, Context(name="node"))
    assert caught.value.key == key
    assert mend in caught.value.mend


def test_without_pyserial_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(ConfigError, match=r"pip install 'fleetco2\[serial\]'"):
        make({"port": "/dev/none"}, Context(name="node"))


# a whole node on the other end


def test_a_node_s_readings_arrive_in_order_with_their_own_time() -> None:
    world = World()
    world.every_step = lambda now_ms: world.hal.frames.append(
        frame(0xFEC1, (now_ms // 10).to_bytes(4, "little") + b"\xff" * 4)
    )
    world.run(30_000)  # nobody listens
    source = world.source()
    samples = world.listen(source, 30_000)
    assert [s.values["odometer_m"] for s in samples] == [5 * 100 * (i + 1) for i in range(len(samples))]
    assert len(samples) == 59
    for i, sample in enumerate(samples):
        late_ms = (sample.time_ns - T0_NS) / 10**6 - 1000 * (i + 1)
        assert 0 <= late_ms <= 100, "the line is looked at ten times a second"
    figures = source.figures
    assert (figures.records, figures.repeated, figures.lost, figures.undated, figures.damaged) == (59, 0, 0, 0, 0)
    assert figures.node is not None
    assert 42 <= figures.node.acked <= 45, "what has been here for 15 s is safe"


def test_a_gateway_that_starts_again_gets_what_was_not_yet_acknowledged() -> None:
    world = World()
    world.listen(world.source(), 40_000)
    kept_from = world.node.ring.acked
    again = world.source()
    samples = world.listen(again, 10_000)
    assert len(samples) == 49 - kept_from
    assert again.figures.lost == 0


def test_a_source_that_is_started_again_after_a_fault_goes_on_where_it_was() -> None:
    world = World()
    source = world.source()
    first = world.listen(source, 20_000)
    world.run(20_000)
    second = world.listen(source, 20_000)
    times = [round((s.time_ns - T0_NS) / 10**9) for s in first + second]
    assert times == list(range(1, 60))


def test_power_cuts_of_the_node_lose_no_reading_and_times_stay_right() -> None:
    world = World()
    source = world.source()
    times: list[int] = []
    for _ in range(4):
        times += [round((s.time_ns - T0_NS) / 10**6) for s in world.listen(source, 7_300)]
        world.run(2_100)
        world.boot()
    seconds_of_each_start = [9.4 * start + i for start in range(4) for i in range(1, 10)]
    expected = [round(1000 * t) for t in seconds_of_each_start][: len(times)]
    assert len(times) >= 3 * 9 + 6
    assert all(0 <= got - want <= 110 for got, want in zip(times, expected, strict=True))


def test_records_of_a_start_before_the_gateway_s_are_dated_by_what_the_node_kept() -> None:
    world = World()
    world.listen(world.source(), 5_000)
    world.run(20_000)
    world.boot()
    source = world.source()
    samples = world.listen(source, 10_000)
    times = [round((s.time_ns - T0_NS) / 10**9) for s in samples]
    assert source.figures.undated == 0
    assert times == [*range(1, 25), *range(26, 35)]


def test_records_that_nobody_can_date_are_counted_and_not_invented() -> None:
    world = World()
    world.run(10_000)
    world.boot()
    world.run(5_000)
    source = world.source()
    samples = world.listen(source, 10_000)
    times = [round((s.time_ns - T0_NS) / 10**9) for s in samples]
    assert times == list(range(11, 25))
    assert source.figures.undated == 9
    assert source._context.counters.by_label("firmware_record_undated") == {source.name: 9}


def test_a_warehouse_s_count_survives_power_cuts() -> None:
    settings = WarehouseSettings()
    world = World(sensors=lambda: WarehouseSensors(settings))
    closed = False

    def pulse(now_ms: int) -> None:
        nonlocal closed
        if now_ms % 50 == 0:
            closed = not closed
            world.hal.edge(0, closed)

    world.every_step = pulse
    source = world.source(pulses=[{"signal": "grid_import_kwh", "per_unit": 1000, "start": 500}])
    samples = world.listen(source, 60_000)
    world.boot()
    samples += world.listen(source, 60_000)
    readings = [s.values["grid_import_kwh"] for s in samples]
    assert readings == sorted(readings)
    assert readings[0] == pytest.approx(500.010, abs=0.0011)
    assert readings[-1] == pytest.approx(500 + 118 * 10 / 1000, abs=0.012), "a second's pulses may go with the power"


# the port


@dataclass
class Script:
    """A port that reads what it is given, piece by piece; time goes on with each reading."""

    pieces: list[bytes | None]
    now_s: float = 0.0
    written: list[bytes] = field(default_factory=list)

    async def read(self, timeout_s: float) -> bytes | None:
        self.now_s += timeout_s
        return self.pieces.pop(0) if self.pieces else None

    def write(self, data: bytes) -> None:
        self.written.append(data)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Port]:
        yield self

    def samples(self, **more: Any) -> list[Sample]:
        context = Context(name="node", monotonic=lambda: self.now_s, now_ns=lambda: T0_NS)
        source = FirmwareSource(options(**more), context, self.open)

        async def all_of_it() -> list[Sample]:
            return [sample async for sample in source.samples()]

        return asyncio.run(all_of_it())


def test_a_silent_line_is_a_fault_that_says_what_to_look_at() -> None:
    with pytest.raises(PortError, match=r"nothing on /dev/none for 10 s; has the node power"):
        Script([b""] * 20).samples()
    with pytest.raises(PortError, match=r"only unreadable bytes on /dev/none for 5 s; is the node set to 9600 baud"):
        Script([b"\x80\x00"] * 20).samples(silent_s=5, baud=9600)


def test_damage_before_the_last_good_frame_does_not_explain_a_silence() -> None:
    beat = fr.frame(fr.encode(Beat(Head(1, 0, 0), 1, 0, 0, 0, 0, 0, WarehouseFlags(0))))
    with pytest.raises(PortError, match="nothing on"):
        Script([b"\x80\x00", beat, *[b""] * 20]).samples()


def test_a_line_that_speaks_is_not_silent() -> None:
    beat = fr.frame(fr.encode(Beat(Head(1, 0, 0), 1, 0, 0, 0, 0, 0, WarehouseFlags(0))))
    script = Script([beat, *[b""] * 9] * 3)
    assert script.samples() == []
    assert len(script.written) == 30, "an answer a second"


def serial() -> Any:
    return pytest.importorskip("serial", reason="pyserial is not installed (extra serial)")


def opened(port: str) -> AsyncIterator[Sample]:
    source = make({"port": port, "silent_s": 3}, Context(name="node"))
    return source.samples()


def refusal(port: Path) -> str:
    async def first() -> None:
        await anext(opened(str(port)))

    with pytest.raises(PortError) as caught:
        asyncio.run(first())
    return str(caught.value)


def test_making_it_opens_nothing() -> None:
    serial()
    assert make({"port": "/dev/none"}, Context(name="node")).name == "node"


def test_a_port_that_is_not_there_or_may_not_be_opened_is_named(tmp_path: Path) -> None:
    serial()
    assert refusal(tmp_path / "ttyUSB7") == f"there is no {tmp_path}/ttyUSB7; is it plugged in, and is the name right?"
    (tmp_path / "file").write_bytes(b"")
    assert "cannot be opened" in refusal(tmp_path / "file")
    (tmp_path / "locked").write_bytes(b"")
    (tmp_path / "locked").chmod(0)
    if not os.access(tmp_path / "locked", os.R_OK):  # root may read everything
        assert "dialout" in refusal(tmp_path / "locked")


def test_a_real_serial_port_carries_a_node_s_frames_both_ways() -> None:
    """A pseudo-terminal: the kernel's line discipline, pyserial's settings and our reading of it are the real ones."""
    serial()
    node_end, gateway_end = os.openpty()
    path = os.ttyname(gateway_end)
    os.close(gateway_end)
    every_byte = bytes(range(256))  # also those that a terminal would swallow or translate
    beat = fr.frame(fr.encode(Beat(Head(9, 2, 5_000), 0x1311_0D0A, 0, 2, 0, 0, 0, WarehouseFlags(0))))
    readings = b"".join(
        fr.frame(
            fr.encode(Truck(Head(9, i, 4_000 + i), i, 0x0A0D_1113, None, 0x0304, None, None, None, None, TruckFlags(0)))
        )
        for i in range(2)
    )

    async def talk() -> tuple[list[Sample], bytes]:
        samples = opened(path)
        first = asyncio.ensure_future(anext(samples))
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[bytes] = loop.create_future()

        def on_answer() -> None:
            if not answered.done():
                answered.set_result(os.read(node_end, 100))

        loop.add_reader(node_end, on_answer)
        os.write(node_end, every_byte + b"\0" + beat)
        answer = await answered
        loop.remove_reader(node_end)
        os.write(node_end, readings)
        got = [await first, await anext(samples)]
        gone = asyncio.ensure_future(anext(samples))
        os.close(node_end)
        with pytest.raises(PortError, match="has gone"):
            await gone
        return got, answer

    got, answer = asyncio.run(talk())
    assert [s.values for s in got] == [
        {"fuel_total_hr_l": i / 1000, "odometer_m": 0x0A0D_1113 * 5.0, "speed_kmh": 0x0304 / 256} for i in range(2)
    ]
    assert answer.endswith(b"\0")
    content = fr.unframe(answer[:-1])
    assert content is not None
    assert content[:8] == b"FA\x01\x07\x0a\x0d\x11\x13"
