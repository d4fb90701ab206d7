"""The short form of ``make faults``: a few faults of each kind between real processes, judged by the ledger."""

import asyncio
import datetime

import pytest

from simulators.local_broker import find_mosquitto
from tests.system.fault_report import PROMISES, quantile, report, seeds
from tests.system.fault_runs import SCENARIOS, Outcome
from tests.system.faults import once

SHORT = [("all_killed", 3.0), ("reset", 2.0), ("consumer_points", 4.0)]
TODAY = datetime.date(2026, 11, 22)


@pytest.mark.broker
@pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed on this machine")
@pytest.mark.timeout(400)  # a consumer may have to compile its kernels first
@pytest.mark.parametrize(("name", "seconds"), SHORT)
def test_nothing_is_lost_doubled_altered_or_invented(name: str, seconds: float) -> None:
    out = asyncio.run(once(name, 7, seconds))
    if out.skipped:
        pytest.skip(out.skipped)
    assert not out.failed
    assert (out.lost, out.duplicated, out.altered, out.invented) == (0, 0, 0, 0)
    assert out.sampled > 100
    assert out.faults > 0


def good(name: str, seed: int = 1, **more: object) -> Outcome:
    return Outcome(scenario=name, seed=seed, faults=3, sampled=1000, stored=1000, **more)  # type: ignore[arg-type]


def test_every_promise_names_scenarios_that_exist() -> None:
    assert {n for p in PROMISES for n in p.proof} <= set(SCENARIOS)


def test_the_report_promises_only_what_ran_well() -> None:
    outcomes = [good(name, seed) for name in SCENARIOS for seed in (1, 2)]
    text = report(outcomes, command="make faults", today=TODAY)
    assert "NOT SHOWN" not in text
    assert f"**{2000 * len(SCENARIOS):,} readings, {6 * len(SCENARIOS)} faults: lost 0, " in text
    worse = [good("broker_old", lost=2, failed="two are gone"), *(o for o in outcomes if o.scenario != "broker_old")]
    text = report(worse, command="make faults", today=TODAY)
    assert "- NOT SHOWN by this run: The broker may forget everything" in text
    assert "lost 2, " in text
    assert "- MQTT 3.1.1 broker restarted empty, seed 1: two are gone" in text


def test_the_report_names_what_was_skipped_or_left_out() -> None:
    outcomes = [Outcome(scenario="packet_loss", seed=1, skipped="iptables is not installed"), good("poison")]
    text = report(outcomes, command="make faults", today=TODAY)
    assert "- 30 % packet loss: iptables is not installed" in text
    assert "- broker killed: not chosen" in text
    assert "- NOT SHOWN by this run: So does the loss of 30 %" in text


def test_a_row_sums_runs_and_shows_recoveries() -> None:
    waits = [[1.0, 2.0], [9.0]]
    outcomes = [
        good("broker_killed", s, recovery_s=w, peak_rss_mib={"consumer": 300 + s}) for s, w in enumerate(waits, 4)
    ]
    line = next(
        x for x in report(outcomes, command="x", today=TODAY).splitlines() if x.startswith("| broker killed | 2")
    )
    assert [c.strip() for c in line.strip("|").split("|")][1:] == [
        "2",
        "4-5",
        "6",
        "2,000",
        "0",
        "0",
        "0",
        "0",
        "0",
        "2.0 / 9.0",
        "305",
    ]


def test_the_simulator_has_its_own_part() -> None:
    told = {
        "seeds": 20, "first_seed": 5, "hours": 321.4, "cpu_s": 12.0, "readings": 4_000_000, "stored": 3_999_000, "merged": 0,
        "reported_gone": 0, "unsynced": 1000, "quarantined_time": 3, "lost": 0, "duplicated": 0, "altered": 0, "invented": 0,
        "settle_s": {"p50": 20.0, "p99": 60.0, "max": 70.0}, "faults": {"power_cut": 12}, "failures": [],
    }  # fmt: skip
    text = report([good("poison")], command="x", today=TODAY, simulated=told)
    assert "seeds 5 to 24: 321 virtual hours" in text
    assert "lost 0, duplicated 0, altered 0, invented 0" in text
    assert "Faults: power cut 12." in text


def test_quantiles_and_seeds() -> None:
    assert [quantile([1.0, 2.0, 3.0, 4.0], q) for q in (0.5, 0.99, 0.25, 1.0)] == [2.0, 4.0, 1.0, 4.0]
    assert quantile([5.0], 0.99) == 5.0
    assert seeds([3, 1, 2, 9, 9]) == "1-3, 9"
