"""Refuelling, drains and charging from the level, and none of it where the level does not tell."""

from typing import Any

import numpy as np
import pytest

from stream.columns import UNKNOWN
from stream.fleet import Fleet, Vehicle, Warehouse
from stream.pipeline import Columns, start, step
from tests.event_list import happened, kinds
from tests.support import fleet, join, readings

TRUCK = fleet(Vehicle("t1", "d-t1", "artic_40t", "diesel_b7", tank_l=600.0))
MOVING, STANDING = 60.0, 0.0


class Day:
    """A truck's day at 1 Hz, leg by leg; the sender sloshes by 1.5 % while it moves and steps by 0.4 %."""

    def __init__(self, litres: float, *, tank_l: float = 600.0, slosh: float = 1.5, seed: int = 1) -> None:
        self.tank_l, self.slosh, self.rng = tank_l, slosh, np.random.default_rng(seed)
        self.litres, self.used, self.t = litres, 0.0, 0
        self.rows: list[tuple[float, float, float, float]] = []

    def leg(self, seconds: int, speed: float, lph: float, *, pumped_l: float = 0.0, hidden: bool = False) -> "Day":
        for _ in range(seconds):
            self.t += 1
            self.used += lph / 3600
            self.litres += pumped_l / seconds - lph / 3600
            level = 100 * self.litres / self.tank_l + (self.rng.normal(0, self.slosh) if speed > 0 else 0.0)
            if not hidden:
                self.rows.append((self.t, speed, round(level / 0.4) * 0.4, self.used))
        return self

    def batch(self, **signals: Any) -> Columns:
        t, v, level, used = np.array(self.rows).T
        given: dict[str, Any] = {
            "speed_kmh": v,
            "fuel_level_pct": np.clip(level, 0, 100),
            "fuel_total_hr_l": np.floor(used * 1000) / 1000,
            **signals,
        }
        return readings(t, **{k: v for k, v in given.items() if v is not None})


def test_a_refuelling_at_a_standstill() -> None:
    day = Day(200).leg(1800, MOVING, 25).leg(30, STANDING, 0).leg(300, STANDING, 0, pumped_l=250)
    day.leg(400, STANDING, 0).leg(1800, MOVING, 25)
    (event,) = happened(day.batch(), TRUCK)
    assert event["kind"] == "refuel"
    assert event["amount"] == pytest.approx(250, abs=5)
    assert event["expected"] == pytest.approx(200 - 12.5, abs=8)  # what was in before
    assert 1800 <= event["at"] <= 1870
    assert 2100 <= event["end"] <= 2150


def test_pumps_that_end_with_departure_count_too() -> None:
    day = Day(200).leg(900, MOVING, 25).leg(60, STANDING, 0).leg(200, STANDING, 0, pumped_l=300)
    day.leg(20, STANDING, 0).leg(600, MOVING, 25)
    assert [(e["kind"], round(e["amount"], -1)) for e in happened(day.batch(), TRUCK)] == [("refuel", 300)]


def test_refuelled_while_the_gateway_slept() -> None:
    day = Day(300).leg(900, MOVING, 25).leg(60, STANDING, 0).leg(600, STANDING, 0, pumped_l=200, hidden=True)
    day.leg(5, STANDING, 0).leg(3600, MOVING, 25).leg(60, STANDING, 2.5)
    (event,) = happened(day.batch(), TRUCK)
    assert event["kind"] == "refuel"
    assert event["amount"] == pytest.approx(200, abs=8)  # what was driven since is added back


def test_fuel_used_knows_nothing_of_a_refuelling() -> None:
    # traccar #4581, #5228, #5991: start minus end fuel gives -28 L, or 1 L after a refuelling.
    day = Day(40).leg(1800, MOVING, 25).leg(60, STANDING, 0).leg(300, STANDING, 0, pumped_l=400)
    batch = day.leg(300, STANDING, 0).leg(1800, MOVING, 25).batch()
    _, r = step(start(TRUCK), batch)
    fuel = r.emissions["fuel_nl"]
    assert fuel[fuel != UNKNOWN].min() >= 0
    assert fuel[fuel != UNKNOWN].sum() / 1e9 == pytest.approx(25.0, abs=0.01)


def test_a_drain_at_night() -> None:
    day = Day(500).leg(1800, MOVING, 25).leg(120, STANDING, 0).leg(400, STANDING, 0, pumped_l=-60)
    day.leg(600, STANDING, 0)
    (event,) = happened(day.batch(), TRUCK)
    assert event["kind"] == "drain"
    assert event["amount"] == pytest.approx(60, abs=5)


def test_a_drain_while_the_gateway_slept() -> None:
    day = Day(500).leg(1800, MOVING, 25).leg(120, STANDING, 0).leg(7 * 3600, STANDING, 0, pumped_l=-100, hidden=True)
    day.leg(300, STANDING, 0)
    assert [(e["kind"], round(e["amount"], -1)) for e in happened(day.batch(), TRUCK)] == [("drain", 100)]


@pytest.mark.parametrize("seed", range(8))
def test_slosh_at_every_corner_and_light_is_nothing(seed: int) -> None:
    # OBDisplay-Uno #63: an alarm at every corner. Sloshing of 3 %, 40 stops of 25 s.
    day = Day(450, slosh=3.0, seed=seed)
    for _ in range(40):
        day.leg(120, MOVING, 30).leg(25, STANDING, 2.5)
    assert kinds(day.batch(), TRUCK) == []


def test_small_tanks_slosh_too() -> None:
    van = fleet(Vehicle("v", "d-v", "van_3.5t", "diesel_b7", tank_l=75.0))
    day = Day(50, tank_l=75, slosh=4.0)
    for _ in range(30):
        day.leg(90, MOVING, 8).leg(30, STANDING, 0.8)
    assert kinds(day.batch(), van) == []


def test_warmth_of_a_day_is_no_refuelling() -> None:
    t = np.arange(0, 12 * 3600, 30)
    level = 80 * (1 + 0.00083 * 25 * np.sin(np.pi * t / t[-1]))  # diesel expands by 0.083 %/K
    batch = readings(t, speed_kmh=np.zeros(t.size), fuel_level_pct=np.round(level / 0.4) * 0.4)
    assert kinds(batch, TRUCK) == []


def test_without_the_tanks_size_there_are_no_litres_and_no_event() -> None:
    batch = (
        Day(200).leg(600, MOVING, 25).leg(60, STANDING, 0).leg(300, STANDING, 0, pumped_l=300).leg(300, 0.0, 0).batch()
    )
    assert kinds(batch, fleet()) == []
    assert kinds(batch, TRUCK) == ["refuel"]


def test_a_lower_level_is_no_drain_while_the_use_is_not_known() -> None:
    day = Day(500).leg(60, STANDING, 0).leg(4 * 3600, MOVING, 25, hidden=True).leg(60, STANDING, 0)
    assert kinds(day.batch(fuel_total_hr_l=None), TRUCK) == []


def test_a_level_sent_on_change_only() -> None:
    batch = Day(200).leg(900, MOVING, 25).leg(30, 0.0, 0).leg(300, 0.0, 0, pumped_l=250).leg(400, 0.0, 0).batch()
    level = batch["fuel_level_pct"]
    batch["fuel_level_pct"] = np.where(np.concatenate(([True], np.diff(level) != 0)), level, np.nan)
    (event,) = happened(batch, TRUCK)
    assert event["kind"] == "refuel"
    assert event["amount"] == pytest.approx(250, abs=8)


def test_a_level_that_falls_by_other_than_the_fuel_used_is_a_case() -> None:
    # The counter tells 30 % too little; nothing is stolen, so no drain may be told.
    day = Day(580)
    for _ in range(14):
        day.leg(3600, MOVING, 40).leg(60, STANDING, 0)
    honest = day.batch()
    lying = day.batch(fuel_total_hr_l=np.floor(0.7 * np.array(day.rows)[:, 3] * 1000) / 1000)
    assert kinds(honest, fleet(Vehicle("t1", "d-t1", "artic_40t", "diesel_b7", tank_l=600.0))) == []
    longer = join(lying, _again(lying, 1), _again(lying, 2))
    found = [e for e in happened(longer, TRUCK) if e["kind"] == "fuel_conflict"]
    assert len(found) >= 1
    assert found[0]["amount"] == pytest.approx(1 / 0.7, abs=0.05)
    assert found[0]["chosen"] == "counter"


def _again(batch: Columns, k: int) -> Columns:
    """The same day ``k`` days later, refuelled meanwhile, its counters going on."""
    later = {name: values.copy() for name, values in batch.items()}
    later["seq"] += k * batch["seq"].size
    later["time_ns"] += k * 86_400 * 10**9
    later["fuel_total_hr_l"] += k * (batch["fuel_total_hr_l"][-1] + 0.01)
    return later


def _charging(pack: float | None) -> tuple[Columns, Fleet]:
    """Drives 40 % of a 300 kWh pack empty in three legs with stops, charges 30 %, drives on."""
    legs = [(1800, 60.0, -15.0), (60, 0.0, 0.0), (1800, 60.0, -15.0), (60, 0.0, 0.0), (1200, 60.0, -10.0)]
    legs += [(60, 0.0, 0.0), (3600, 0.0, 30.0), (2400, 0.0, 0.0), (600, 60.0, -5.0)]
    soc, used, rows = 90.0, 0.0, []
    for seconds, speed, change in legs:
        for _ in range(seconds):
            soc += change / seconds
            used += max(0.0, -change / seconds) * 3.0
            rows.append((speed, round(soc / 0.4) * 0.4, used))
    v, level, kwh = np.array(rows).T
    batch = readings(
        np.arange(v.size),
        speed_kmh=v,
        battery_soc_pct=level,
        battery_energy_total_kwh=5000 + np.floor(kwh * 1000) / 1000,
    )
    return batch, fleet(Vehicle("e", "d-e", "bev_artic_40t", "electricity", grid_zone="uk", battery_kwh=pack))


@pytest.mark.parametrize("pack", [300.0, None])
def test_charging_in_kilowatt_hours_by_registry_or_by_what_was_learnt(pack: float | None) -> None:
    batch, among = _charging(pack)
    (event,) = happened(batch, among)
    assert event["kind"] == "recharge"
    assert event["amount"] == pytest.approx(90.0, rel=0.04)


def test_downhill_is_no_charging() -> None:
    t = np.arange(3600)
    soc = np.where(t < 1800, 60 - t * 0.005, 51 + (t - 1800) * 0.004)  # 7 % regenerated on the way down
    energy = 5000 - (soc - 60) * 3.0
    v = np.where((t % 600) < 40, 0.0, 50.0)
    batch = readings(t, speed_kmh=v, battery_soc_pct=soc, battery_energy_total_kwh=energy)
    among = fleet(Vehicle("e", "d-e", "bev_artic_40t", "electricity", grid_zone="uk", battery_kwh=300.0))
    assert [k for k in kinds(batch, among) if k == "recharge"] == []


def test_refrigerant_is_told_as_a_step() -> None:
    site = fleet(warehouses=(Warehouse("w", "d-w", "W", 50.0, 8.0, "uk"),))
    batch = readings([0, 60, 120, 180], device=1, refrigerant_topup_total_kg=[4.0, 4.0, 10.5, 10.5])
    assert [(e["kind"], e["amount"], e["at"]) for e in happened(batch, site)] == [("refrigerant_topup", 6.5, 120.0)]
    reset = readings([0, 60], device=1, refrigerant_topup_total_kg=[10.5, 0.0])
    assert happened(reset, site) == []
