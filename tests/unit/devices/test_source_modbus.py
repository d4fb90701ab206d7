"""Meters over real sockets against pymodbus' own server: values, wrong meters, wrong words, silence and return."""

import asyncio
import contextlib
import tomllib
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pymodbus", reason="the extra modbus is not installed")

from pymodbus.constants import ExcCodes

from devices import source_modbus, source_mqtt, source_pulse, source_wms
from devices.config import ConfigError, SourceConfig
from devices.counters import Counters
from devices.modbus_bus import BusError
from devices.source_modbus import BACKOFF_MOST_S, REPROVE_S, NoMeterError, make
from devices.sources import Context
from devices.wire import Sample
from tests.meter_bench import (
    SILENT,
    SimMeter,
    em24,
    em24_e1,
    f32,
    i32_low_first,
    i64,
    iem3155,
    rtu_line,
    sdm630,
    tcp,
)
from tests.pace import Pace, take

ALL = {"import_kwh": "grid_import_kwh", "export_kwh": "grid_export_kwh", "power_kw": "grid_power_kw"}
IMPORT = {"import_kwh": "grid_import_kwh"}


class Rig:
    """A source in the test's own time, and what it has counted."""

    def __init__(self, port: int, *meters: dict[str, Any], **options: Any) -> None:
        self.pace = Pace()
        self.counters = Counters()
        self.context = Context(
            name="hall",
            counters=self.counters,
            now_ns=self.pace.now_ns,
            monotonic=self.pace.monotonic,
            sleep=self.pace.sleep,
        )
        line: dict[str, Any] = {} if "serial" in options else {"host": "127.0.0.1", "port": port}
        self.source = make({"timeout_s": 0.1, **line, **options, "meter": list(meters)}, self.context)

    @contextlib.asynccontextmanager
    async def samples(self) -> AsyncIterator[AsyncIterator[Sample]]:
        samples = self.source.samples()
        try:
            yield samples
        finally:
            await samples.aclose()  # type: ignore[attr-defined]

    async def first(self, n: int = 1) -> list[Sample]:
        async with self.samples() as samples:
            return await take(samples, n)

    async def fails(self, kind: type[Exception]) -> str:
        """What it says when it cannot go on; rounds before that are allowed to give readings."""
        with pytest.raises(kind) as caught:
            async with self.samples() as samples:
                await take(samples, 50)
        return str(caught.value)


def meter(name: str, model: str, unit: int = 1, **options: Any) -> dict[str, Any]:
    return {"name": name, "model": model, "unit": unit, "signals": IMPORT, **options}


@pytest.mark.parametrize(
    ("model", "sim", "expected"),
    [
        ("sdm630", sdm630(1, kwh=12_345.5, kw=-2.25, export=8.125), (12_345.5, 8.125, -2.25)),
        ("iem3155", iem3155(1, wh=987_654_321, export_wh=1_000, kw=5.5), (987_654.321, 1.0, 5.5)),
        ("em24", em24(1, kwh_tenths=9_876_543, export_tenths=70), (987_654.3, 7.0, -5.4321)),
        ("em24_e1", em24_e1(1, kwh_tenths=9_876_543), (987_654.3, 0.7, 1.2345)),
    ],
)
def test_each_model_gives_its_values(model: str, sim: SimMeter, expected: tuple[float, float, float]) -> None:
    async def run() -> list[Sample]:
        async with tcp(sim) as port:
            rig = Rig(port, meter("main", model, signals=ALL))
            got = await rig.first()
            assert rig.counters.snapshot() == {}
            return got

    (sample,) = asyncio.run(run())
    assert sample.values == pytest.approx(dict(zip(ALL.values(), expected, strict=True)))


def test_a_round_is_one_reading_with_the_time_of_its_first_answer() -> None:
    async def run() -> None:
        grid, sun = sdm630(1, kwh=100), sdm630(2, kwh=50)
        async with tcp(grid, sun) as port:
            sun_meter = meter("sun", "sdm630", 2, signals={"import_kwh": "pv_kwh"})
            rig = Rig(port, meter("grid", "sdm630"), sun_meter, every_s=10)
            begun_ns = rig.pace.now_ns()
            got = await rig.first(3)
        assert [s.time_ns - begun_ns for s in got] == [0, 10 * 10**9, 20 * 10**9]
        assert [s.values for s in got] == [{"grid_import_kwh": 100, "pv_kwh": 50}] * 3

    asyncio.run(run())


def test_a_dead_meter_is_named_and_backed_off_while_the_others_go_on_and_is_picked_up_when_it_returns() -> None:
    async def run() -> None:
        grid, sun = sdm630(1, kwh=100), sdm630(2, kwh=50)
        async with tcp(grid, sun) as port:
            sun_meter = meter("sun", "sdm630", 2, signals={"import_kwh": "pv_kwh"})
            rig = Rig(port, meter("grid", "sdm630"), sun_meter, every_s=10)
            async with rig.samples() as samples:
                (before,) = await take(samples, 1)
                assert before.values["pv_kwh"] == 50
                sun.mood, asked = SILENT, len(sun.asked)
                dead = await take(samples, 40)
                assert all(s.values == {"grid_import_kwh": 100} for s in dead)  # never the 50 of before
                assert [b.time_ns - a.time_ns for a, b in pairwise(dead)] == [10 * 10**9] * 39
                tries = len(sun.asked) - asked
                assert 400 / BACKOFF_MOST_S <= tries <= 400 / BACKOFF_MOST_S + 6
                assert rig.counters.by_label("meter_silent") == {"sun": tries - 1}  # the first was tried twice
                assert rig.source.faults == ("meter sun: unit 2 does not answer within 0.1 s",)  # type: ignore[attr-defined]
                sun.mood = ""
                back = await take(samples, 8)
                assert back[-1].values == {"grid_import_kwh": 100, "pv_kwh": 50}
                assert rig.counters.by_label("meter_returned") == {"sun": 1}

    asyncio.run(run())


def test_one_lost_answer_costs_nothing() -> None:
    async def run() -> None:
        sim = sdm630(1, kwh=100)
        async with tcp(sim) as port:
            rig = Rig(port, meter("grid", "sdm630"))
            async with rig.samples() as samples:
                await take(samples, 1)
                sim.lose = 1
                (sample,) = await take(samples, 1)
        assert sample.values == {"grid_import_kwh": 100}
        assert rig.counters.snapshot() == {}

    asyncio.run(run())


def test_a_line_without_any_answer_is_an_error_that_names_each_meter() -> None:
    async def run() -> None:
        sims = sdm630(1, kwh=1), sdm630(2, kwh=2)
        for sim in sims:
            sim.mood = SILENT
        async with tcp(*sims) as port:
            sun_meter = meter("sun", "sdm630", 2, signals={"import_kwh": "pv_kwh"})
            said = await Rig(port, meter("grid", "sdm630"), sun_meter).fails(NoMeterError)
        assert said == (
            "meter grid: unit 1 does not answer within 0.1 s; meter sun: unit 2 does not answer within 0.1 s"
        )

    asyncio.run(run())


def test_a_gateway_that_cannot_reach_its_meter_is_silence_not_a_wrong_model() -> None:
    async def run() -> None:
        sim = em24_e1(1, kwh_tenths=1)
        sim.mood = ExcCodes.GATEWAY_NO_RESPONSE
        async with tcp(sim) as port:
            rig = Rig(port, meter("grid", "em24_e1"))
            assert "does not answer its gateway" in await rig.fails(NoMeterError)
        assert rig.counters["meter_refused"] == 0

    asyncio.run(run())


def test_words_the_wrong_way_round_are_found_and_nothing_is_sent() -> None:
    """The reading behind a converter that swaps words would be -127,093,949.8 kWh instead of 987,654.3."""

    async def run() -> None:
        sim = em24_e1(1, kwh_tenths=9_876_543)
        for address in (0x0000, 0x0028, 0x0034, 0x004E):
            sim.inputs[address], sim.inputs[address + 1] = sim.inputs[address + 1], sim.inputs[address]
        assert [sim.inputs[0x0034], sim.inputs[0x0035]] == [150, 46_143]  # low first: 150 + 46143 * 65536 = -1270939498
        async with tcp(sim) as port:
            rig = Rig(port, meter("grid", "em24_e1"))
            assert 'write word_order = "high_first"' in await rig.fails(NoMeterError)
            assert rig.counters.by_label("meter_refused") == {"grid: word_order": 1}
            mended = Rig(port, meter("grid", "em24_e1", word_order="high_first"))
            (sample,) = await mended.first()
        assert sample.values == pytest.approx({"grid_import_kwh": 987_654.3})

    asyncio.run(run())


@pytest.mark.parametrize(
    ("model", "sim", "parts"),
    [
        (
            "em24_e1",
            em24_e1(1, kwh_tenths=1, code=332),
            ["says 332 (0x014c)", "1648 (0x0670) (EM24DINAV23XE1X)", "registers"],
        ),
        ("em24", em24_e1(1, kwh_tenths=1), ["says 1648", 'write model = "em24_e1"']),
        ("sdm630", sdm630(1, kwh=1, code=0x84), ["says 132 (0x0084)", "112 (0x0070) (SDM630)", "known models are"]),
        ("iem3155", iem3155(1, wh=1, name="iEM3150"), ["says 'iEM3150'", "'iEM3155'"]),
        ("iem3155", sdm630(1, kwh=1), ["it has no register 0x0031", "Schneider", "known models are em24, em24_e1"]),
    ],
)
def test_an_unknown_model_is_refused_with_what_was_read_and_what_is_known(
    model: str, sim: SimMeter, parts: list[str]
) -> None:
    async def run() -> tuple[str, Counters]:
        async with tcp(sim) as port:
            rig = Rig(port, meter("main", model))
            return await rig.fails(NoMeterError), rig.counters

    said, counters = asyncio.run(run())
    assert [part for part in parts if part not in said] == []
    assert counters.by_label("meter_refused") == {"main: identity": 1}


def test_an_old_sdm630_that_has_no_code_is_known_by_its_frequency() -> None:
    async def run() -> None:
        sim = sdm630(1, kwh=77)
        sim.holdings = {0: 0}
        async with tcp(sim) as port:
            (sample,) = await Rig(port, meter("grid", "sdm630")).first()
            assert sample.values == {"grid_import_kwh": 77}
            sim.put(4, 0x0046, f32(3000.0))
            assert "outside 40 to 70" in await Rig(port, meter("grid", "sdm630")).fails(NoMeterError)

    asyncio.run(run())


def test_a_counter_that_jumps_or_falls_is_refused_until_three_readings_agree() -> None:
    async def run() -> None:
        sim = sdm630(1, kwh=1000, kw=3)
        async with tcp(sim) as port:
            signals = {**IMPORT, "power_kw": "grid_power_kw"}
            rig = Rig(port, meter("grid", "sdm630", max_kw=100, signals=signals), every_s=60)
            async with rig.samples() as samples:
                await take(samples, 1)
                sim.put(4, 0x0048, f32(1003))  # 180 kW for a minute; the limit is 100 kW and one step of 1 kWh
                sim.put(4, 0x0034, f32(4000))
                (jumped,) = await take(samples, 1)
                assert jumped.values == {"grid_power_kw": 4}
                assert rig.counters.by_label("meter_value_refused") == {"grid_import_kwh: jumped": 1}
                (good,) = await take(samples, 1)  # after two minutes it is possible
                assert good.values["grid_import_kwh"] == 1003
                sim.put(4, 0x0048, f32(3.0))
                values = [s.values.get("grid_import_kwh") for s in await take(samples, 4)]
                assert values == [None, None, 3.0, 3.0]
                assert rig.counters.by_label("meter_value_refused")["grid_import_kwh: fell"] == 2
                assert rig.counters.by_label("meter_counter_anew") == {"grid_import_kwh": 1}

    asyncio.run(run())


def test_power_that_the_connection_cannot_carry_is_refused() -> None:
    async def run() -> None:
        sim = sdm630(1, kwh=1000, kw=101)
        async with tcp(sim) as port:
            signals = {**IMPORT, "power_kw": "grid_power_kw"}
            rig = Rig(port, meter("grid", "sdm630", max_kw=100, signals=signals))
            (sample,) = await rig.first()
        assert sample.values == {"grid_import_kwh": 1000}
        assert rig.counters.by_label("meter_value_refused") == {"grid_power_kw: impossible": 1}

    asyncio.run(run())


def test_what_a_meter_does_not_have_is_absent_not_zero() -> None:
    async def run() -> None:
        sim = iem3155(1, wh=5000)
        sim.put(3, 0x0BF3, [0xFFC0, 0x0000])  # NaN, as Schneider marks it
        sim.put(3, 0x0C87, [0x8000, 0, 0, 0])
        async with tcp(sim) as port:
            rig = Rig(port, meter("grid", "iem3155", signals=ALL))
            (sample,) = await rig.first()
        assert sample.values == {"grid_import_kwh": 5.0}
        assert rig.counters.by_label("meter_value_absent") == {"grid_power_kw": 1, "grid_export_kwh": 1}

    asyncio.run(run())


def test_a_register_that_this_meter_lacks_costs_only_its_own_signal() -> None:
    """Some EM24 have no counter of exported energy and answer it with exception 2."""

    async def run() -> None:
        sim = em24(1, kwh_tenths=1234)
        async with tcp(sim) as port:
            for address in range(0x005C, 0x0060):
                del sim.inputs[address]
            rig = Rig(port, meter("grid", "em24", signals=ALL))
            got = await rig.first(3)
        assert [s.values for s in got] == [{"grid_import_kwh": 123.4, "grid_power_kw": -5.4321}] * 3
        assert rig.counters.by_label("meter_refused") == {"grid: no 0x005c": 1}
        assert sum(address == 0x005C for _, address, _ in sim.asked) == 1

    asyncio.run(run())


def test_a_meter_exchanged_for_another_of_its_model_begins_anew_at_once() -> None:
    async def run() -> None:
        sim = sdm630(1, kwh=54_321, serial=1)
        async with tcp(sim) as port:
            rig = Rig(port, meter("grid", "sdm630"), every_s=10)
            async with rig.samples() as samples:
                await take(samples, 1)
                sim.put(4, 0x0048, f32(0.5))
                sim.put(3, 0xFC00, [0, 2])
                rig.pace.now_s += REPROVE_S
                (sample,) = await take(samples, 1)
        assert sample.values == {"grid_import_kwh": 0.5}
        assert rig.counters.snapshot() == {"meter_exchanged": 1}

    asyncio.run(run())


def test_a_meter_exchanged_for_another_model_is_refused_and_the_right_one_is_taken_back() -> None:
    async def run() -> None:
        sim, other = sdm630(1, kwh=100), sdm630(2, kwh=7)
        well = dict(sim.inputs), dict(sim.holdings)
        strange = em24_e1(1, kwh_tenths=9_876_543)
        async with tcp(sim, other) as port:
            sun_meter = meter("sun", "sdm630", 2, signals={"import_kwh": "pv_kwh"})
            rig = Rig(port, meter("grid", "sdm630"), sun_meter, every_s=10)
            async with rig.samples() as samples:
                await take(samples, 1)
                sim.inputs, sim.holdings = strange.inputs, {}
                wrong = await take(samples, 3)
                assert [s.values for s in wrong] == [{"pv_kwh": 7}] * 3
                assert rig.counters.by_label("meter_refused")["grid: implausible"] >= 1
                sim.inputs, sim.holdings = well
                right = await take(samples, 8)
                assert right[-1].values == {"grid_import_kwh": 100, "pv_kwh": 7}

    asyncio.run(run())


def test_several_meters_of_one_signal_are_added_and_a_sum_with_a_part_missing_is_left_out() -> None:
    async def run() -> None:
        sims = [sdm630(unit, kwh=100.0 * unit) for unit in (1, 2)] + [sdm630(3, kwh=9)]
        async with tcp(*sims) as port:
            forklift = {"import_kwh": "forklift_kwh"}
            meters = [meter(f"charger {unit}", "sdm630", unit, signals=forklift) for unit in (1, 2)]
            rig = Rig(port, *meters, meter("grid", "sdm630", 3))
            async with rig.samples() as samples:
                (whole,) = await take(samples, 1)
                sims[1].mood = SILENT
                (part,) = await take(samples, 1)
        assert whole.values == {"forklift_kwh": 300, "grid_import_kwh": 9}
        assert part.values == {"grid_import_kwh": 9}
        assert rig.counters.by_label("meter_sum_incomplete") == {"forklift_kwh": 1}

    asyncio.run(run())


def test_application_h_is_needed_for_what_it_concerns_and_written_only_when_told() -> None:
    async def run() -> None:
        sim = em24_e1(1, kwh_tenths=50)
        sim.holdings[0xA000] = 0
        async with tcp(sim) as port:
            (sample,) = await Rig(port, meter("grid", "em24_e1")).first()
            assert sample.values == {"grid_import_kwh": 5}
            said = await Rig(port, meter("grid", "em24_e1", signals=ALL)).fails(NoMeterError)
            assert "0xa000 holds 0 where application H is 7" in said
            assert sim.holdings[0xA000] == 0
            await Rig(port, meter("grid", "em24_e1", signals=ALL, write_setting=True)).first()
            assert sim.holdings[0xA000] == 7

    asyncio.run(run())


def test_any_meter_can_be_given_by_its_registers() -> None:
    async def run() -> None:
        sim = SimMeter(9)
        sim.put(4, 1, [0xFFCE])  # -5.0 °C in tenths
        sim.put(4, 20, i32_low_first(123_456))
        sim.put(4, 30, i32_low_first(5000))
        sim.put(3, 0, [0])
        registers = [
            {"signal": "indoor_temp_c", "address": 1, "type": "int16", "per_unit": 10},
            {"signal": "gas_kwh_gross", "address": 20, "type": "uint32", "per_unit": 0.1},
        ]
        proof = {"address": 30, "type": "uint32", "per_unit": 100, "low": 45, "high": 65}
        options: dict[str, Any] = {"name": "cold room", "model": "registers", "unit": 9, "register": registers}
        async with tcp(sim) as port:
            (sample,) = await Rig(port, {**options, "proof": proof, "word_order": "low_first"}).first()
            assert sample.values == pytest.approx({"indoor_temp_c": -5.0, "gas_kwh_gross": 1_234_560.0})
            assert 'word_order = "low_first"' in await Rig(port, {**options, "proof": proof}).fails(NoMeterError)

    asyncio.run(run())


def test_a_line_that_is_lost_is_said_and_its_counters_are_remembered() -> None:
    async def run() -> None:
        sim = sdm630(1, kwh=500)
        async with tcp(sim) as port:
            rig = Rig(port, meter("grid", "sdm630"), every_s=10)
            async with rig.samples() as samples:
                await take(samples, 1)
        assert await rig.fails(BusError) == f"127.0.0.1:{port} cannot be opened: Connection refused"
        sim.put(4, 0x0048, f32(2.0))
        async with tcp(sim, port=port), rig.samples() as samples:
            (sample,) = await take(samples, 1)
        assert sample.values == {"grid_import_kwh": 2}
        assert rig.counters.by_label("meter_value_refused") == {"grid_import_kwh: fell": 2}
        assert rig.counters.by_label("meter_counter_anew") == {"grid_import_kwh": 1}

    asyncio.run(run())


def test_a_line_that_goes_away_while_it_is_read_is_said() -> None:
    async def run() -> None:
        sim = sdm630(1, kwh=500)
        async with contextlib.AsyncExitStack() as stack:
            port = await stack.enter_async_context(tcp(sim))
            rig = Rig(port, meter("grid", "sdm630"))
            async with rig.samples() as samples:
                await take(samples, 1)
                await stack.aclose()
                with pytest.raises(BusError, match="was lost"):
                    await take(samples, 2)

    asyncio.run(run())


def test_rtu_over_a_serial_line() -> None:
    async def run() -> None:
        grid, sun = em24(1, kwh_tenths=9_876_543), iem3155(2, wh=1_500)
        async with rtu_line(grid, sun) as path:
            sun_meter = meter("sun", "iem3155", 2, signals={"import_kwh": "pv_kwh"})
            rig = Rig(0, meter("grid", "em24", signals=ALL), sun_meter, serial=path, timeout_s=0.3)
            (sample,) = await rig.first()
            expected = {"grid_import_kwh": 987_654.3, "grid_export_kwh": 0.7, "grid_power_kw": -5.4321, "pv_kwh": 1.5}
            assert sample.values == pytest.approx(expected)
            assert 0.2 in rig.pace.slept  # the pause before each request
            with pytest.raises(BusError, match="no RS-485 mode"):
                await Rig(0, meter("grid", "em24"), serial=path, rs485=True).first()

    asyncio.run(run())


def test_after_a_silence_on_rtu_a_late_answer_is_let_pass() -> None:
    async def run() -> None:
        sim = sdm630(1, kwh=500)
        async with tcp(sim, rtu=True) as port:
            rig = Rig(port, meter("grid", "sdm630"), framing="rtu", timeout_s=0.1)
            async with rig.samples() as samples:
                await take(samples, 1)
                sim.lose = 1
                rig.pace.slept.clear()
                (sample,) = await take(samples, 1)
        assert sample.values == {"grid_import_kwh": 500}
        assert rig.pace.slept.count(0.1) == 1  # as long as an answer may take

    asyncio.run(run())


def test_a_serial_line_that_is_not_there_is_named(tmp_path: Path) -> None:
    async def run() -> None:
        rig = Rig(0, meter("grid", "em24"), serial=str(tmp_path / "ttyUSB0"))
        assert await rig.fails(BusError) == f"{tmp_path / 'ttyUSB0'} does not exist; is the adapter plugged in?"
        (tmp_path / "file").touch()
        rig = Rig(0, meter("grid", "em24"), serial=str(tmp_path / "file"))
        assert "in use or no serial line" in await rig.fails(BusError)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("options", "key", "mend"),
    [
        ({}, "", "give host (TCP) or serial (RTU)"),
        ({"host": "a", "serial": "b"}, "", "one of the two"),
        ({"host": "a", "meter": []}, "meter", "length >= 1"),
        ({"host": "a", "meter": [meter("m", "sdm360")]}, "meter.m.model", "did you mean 'sdm630'?"),
        ({"host": "a", "meter": [meter("m", "sdm630"), meter("m", "em24")]}, "meter", "'m' names two meters"),
        ({"host": "a", "meter": [meter("m", "sdm630", signals={})]}, "meter.m", "nothing is read"),
        (
            {"host": "a", "meter": [meter("m", "sdm630", signals={"kwh": "pv_kwh"})]},
            "meter.m.signals.kwh",
            "gives power_kw, import_kwh, export_kwh",
        ),
        (
            {"host": "a", "meter": [meter("m", "sdm630", signals={"import_kwh": "grid_power_kw"})]},
            "meter.m.signals.import_kwh",
            "is no signal in kwh",
        ),
        ({"host": "a", "meter": [meter("m", "sdm630", register=[])], "every_s": 0}, "every_s", ">= 0.05"),
        ({"host": "a", "meter": [{"name": "m", "model": "registers", "signals": IMPORT}]}, "meter.m.signals", "itself"),
        (
            {
                "host": "a",
                "meter": [
                    {"name": "m", "model": "registers", "register": [{"signal": "pv", "address": 1, "type": "int16"}]}
                ],
            },
            "meter.m.register[0].signal",
            "is no signal",
        ),
        (
            {
                "host": "a",
                "meter": [
                    {
                        "name": "m",
                        "model": "registers",
                        "register": [
                            {"signal": "pv_kwh", "address": 1, "type": "int32"},
                            {"signal": "forklift_kwh", "address": 2, "type": "int32"},
                        ],
                    }
                ],
            },
            "meter.m.register",
            "overlap",
        ),
        ({"host": "a", "meter": [meter("m", "sdm630", units=1)]}, "meter[0].units", "is no key"),
    ],
)
def test_what_is_wrong_in_the_configuration_is_named(options: dict[str, Any], key: str, mend: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make({"meter": [meter("m", "sdm630")], **options}, Context(name="hall"))
    assert caught.value.key == ".".join(filter(None, ["source.hall", key]))
    assert mend in caught.value.mend


def test_sums_of_energy_are_exact_in_the_meter_s_own_steps() -> None:
    """int64 Wh: what no float32 counter could hold."""

    async def run() -> None:
        sim = iem3155(1, wh=123_456_789_012)
        async with tcp(sim) as port:
            rig = Rig(port, meter("grid", "iem3155"))
            async with rig.samples() as samples:
                (before,) = await take(samples, 1)
                sim.put(3, 0x0C83, i64(123_456_789_013))
                (after,) = await take(samples, 1)
        assert round((after.values["grid_import_kwh"] - before.values["grid_import_kwh"]) * 1000) == 1

    asyncio.run(run())


def test_the_kind_is_made_through_the_registry_s_signature() -> None:
    config = SourceConfig(kind="modbus", name="hall", options={"host": "a", "meter": [meter("m", "sdm630")]})
    assert make(config.options, Context(name=config.name)).name == "hall"


def test_the_example_in_the_readme_is_valid(tmp_path: Path) -> None:
    text = (Path(source_modbus.__file__).parent / "README.md").read_text(encoding="utf-8")
    example = (
        text.partition("## Sources: meters and warehouse systems")[2].partition("```toml\n")[2].partition("```")[0]
    )
    makers = {
        "modbus": source_modbus.make,
        "pulse": source_pulse.make,
        "mqtt": source_mqtt.make,
        "wms": source_wms.make,
    }
    tables = tomllib.loads(example)["source"]
    assert [t["kind"] for t in tables] == list(makers)
    for table in tables:
        kind, name = table.pop("kind"), table.pop("name")
        assert makers[kind](table, Context(name=name, base=tmp_path)).name == name
