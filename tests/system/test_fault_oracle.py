"""The judge of the fault runs finds each kind of damage, in a lake that it did not make."""

from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from tests.system import fault_command
from tests.system.fault_ledger import Ledger, fuel_ml_at, last_metre, rpm_eighths_at
from tests.system.fault_oracle import Found, compare, totals
from tests.system.fault_world import recoveries_s

S = 10**9
NOW = 1_795_000_000 * S
BOOT = 77
N = 20
DECADE = 10 * 365 * 86_400 * S

Row = dict[str, object]


def row(seq: int, **changes: object) -> Row:
    metre = 5 * (seq + 1)
    return {
        "device": "gw-1",
        "boot_id": BOOT,
        "seq": seq,
        "merged": 1,
        "time_ns": NOW + seq * S,
        "odometer_m": float(metre),
        "fuel_total_hr_l": fuel_ml_at(metre) / 1000,
        "engine_speed_rpm": rpm_eighths_at(metre) / 8,
    } | changes


def refused(seq: int) -> Row:
    return {"reason": "time_future", "device": "gw-1", "boot_id": BOOT, "seq": seq}


class Bench:
    """A ledger of N samples, one a second, whose gateway was killed after the last, and a lake of any rows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "ledger").mkdir()
        self.ledger = Ledger(folder / "ledger", "gw-1", BOOT)

    def sample(self, n: int = N, *, odd: int = -1, durable: int = 0, ended: bool = False) -> None:
        for seq in range(n):
            at = NOW + seq * S
            self.ledger.sampled(seq, at + DECADE * (seq == odd), 5 * (seq + 1), at)
        if durable:
            self.ledger.durable(durable, NOW + n * S)
        if ended:
            self.ledger.ended(n, NOW + n * S)

    def found(self, rows: list[Row], quarantine: list[Row] | None = None, commit_s: float = 3.5) -> Found:
        write_deltalake(self.folder / "lake" / "readings", pa.Table.from_pylist(rows))
        kept = pa.Table.from_pylist(quarantine or [{**refused(0), "boot_id": None, "seq": None, "reason": "bad_magic"}])
        types = {"reason": pa.string(), "device": pa.string(), "boot_id": pa.int64(), "seq": pa.int64()}
        write_deltalake(self.folder / "lake" / "quarantine", kept.cast(pa.schema(types)))
        return compare(self.folder / "ledger", self.folder / "lake", commit_s=commit_s)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_all_there_is_good(bench: Bench) -> None:
    bench.sample(ended=True)
    found = bench.found([row(i) for i in range(N)])
    assert found.good
    assert (found.sampled, found.stored, found.unsent) == (N, N, 0)


def test_a_merged_row_stands_for_its_readings(bench: Bench) -> None:
    bench.sample(ended=True)
    found = bench.found([row(i) for i in range(10)] + [row(N - 1, merged=10)])
    assert found.good
    assert (found.stored, found.thinned) == (11, 9)


def test_missing_readings_are_lost_unless_they_are_the_last_of_a_killed_gateway(bench: Bench) -> None:
    bench.sample()
    found = bench.found([row(i) for i in range(N) if i not in (4, 17, 18, 19)])
    assert (found.lost, found.unsent, found.oldest_unsent_s) == (1, 3, 2.0)  # the last sample is the last sign of life
    assert "seq 4 of 20" in found.examples[0]


def test_what_the_gateway_said_was_durable_is_lost_even_if_young(bench: Bench) -> None:
    bench.sample(durable=19)
    found = bench.found([row(i) for i in range(18)], commit_s=10)
    assert (found.lost, found.unsent) == (1, 1)


def test_a_gateway_that_ended_in_good_order_has_nothing_unsent(bench: Bench) -> None:
    bench.sample(ended=True)
    found = bench.found([row(i) for i in range(N - 1)])
    assert (found.lost, found.unsent) == (1, 0)


def test_duplicates_are_counted(bench: Bench) -> None:
    bench.sample(ended=True)
    assert bench.found([*(row(i) for i in range(N)), row(3), row(3)]).duplicated == 2


def test_a_merged_row_beside_one_it_holds_is_a_duplicate(bench: Bench) -> None:
    bench.sample(ended=True)
    assert bench.found([*(row(i) for i in range(N)), row(9, merged=4)]).duplicated == 4


@pytest.mark.parametrize(
    "what", [{"time_ns": NOW}, {"odometer_m": 7.0}, {"fuel_total_hr_l": 0.004}, {"engine_speed_rpm": 0.125}]
)
def test_each_altered_value_is_found(bench: Bench, what: dict[str, object]) -> None:
    bench.sample(ended=True)
    found = bench.found([row(i, **(what if i == 6 else {})) for i in range(N)])
    assert (found.altered, found.lost, found.duplicated) == (1, 0, 0)


@pytest.mark.parametrize("what", [{"seq": N}, {"boot_id": 78}, {"device": "gw-2"}, {"seq": 1, "merged": 3}])
def test_invented_rows_are_found(bench: Bench, what: dict[str, object]) -> None:
    bench.sample(ended=True)
    assert bench.found([*(row(i) for i in range(N)), row(0) | what]).invented >= 1


@pytest.mark.parametrize(("times", "lost", "kept"), [(0, 1, 0), (1, 0, 1), (2, 1, 0)])
def test_an_impossible_time_belongs_into_quarantine_once(bench: Bench, times: int, lost: int, kept: int) -> None:
    bench.sample(odd=5, ended=True)
    found = bench.found([row(i) for i in range(N) if i != 5], [refused(5)] * times)
    assert (found.lost, found.kept) == (lost, kept)


def test_quarantine_is_no_place_for_a_sound_reading(bench: Bench) -> None:
    bench.sample(ended=True)
    assert bench.found([row(i) for i in range(N) if i != 5], [refused(5)]).lost == 1


def test_totals_are_those_of_the_gauges(bench: Bench) -> None:
    bench.sample(ended=True)
    bench.found([row(i) for i in range(N)])
    one = {"device": "gw-1", "fuel_nl": 3_000_000, "distance_mm": 5000}
    steps = [one] * (N - 1)
    write_deltalake(bench.folder / "lake" / "emissions", pa.Table.from_pylist(steps))
    assert totals(bench.folder / "ledger", bench.folder / "lake") == ""
    write_deltalake(
        bench.folder / "lake" / "emissions",
        pa.Table.from_pylist([{**one, "fuel_nl": 1, "distance_mm": 0}]),
        mode="append",
    )
    assert "57000001 nL for 57 mL" in totals(bench.folder / "ledger", bench.folder / "lake")


def test_gauges_go_on_over_a_restart(bench: Bench, tmp_path: Path) -> None:
    bench.sample(3)
    assert last_metre(tmp_path / "ledger", "gw-1") == 15
    assert last_metre(tmp_path / "ledger", "gw-2") == 0


def test_recovery_ends_with_the_commit_of_a_reading_that_came_after() -> None:
    commits, received = [10 * S, 12 * S, 15 * S], [9 * S, 11 * S, 14 * S]
    assert recoveries_s([8 * S, 10 * S, 13 * S, 14 * S], commits, received) == [2.0, 2.0, 2.0]


def replayed(boot: int, seq: int, received_ns: int = NOW, **changes: object) -> Row:
    return {
        "device": fault_command.DEVICE,
        "boot_id": boot,
        "seq": seq,
        "merged": 1,
        "time_ns": (fault_command.START_S + seq) * S,
        "received_ns": received_ns,
        "odometer_m": 5.0 * seq,
        "fuel_total_hr_l": 0.003 * seq,
    } | changes


def test_the_judge_of_replayed_recordings(tmp_path: Path) -> None:
    """Two boots: the first killed 4 s after its first row was stored, the second whole; then each kind of damage."""
    whole = [replayed(2, k, NOW + 60 * S) for k in range(fault_command.ROWS)]
    killed = [replayed(1, k) for k in range(200)]

    def found(rows: list[Row], n: int) -> Found:
        write_deltalake(tmp_path / f"{n}" / "readings", pa.Table.from_pylist(rows))
        return fault_command.judged_against_recording(tmp_path / f"{n}", [NOW + 4 * S])

    good = found(killed + whole, 0)
    assert good.good
    assert (good.sampled, good.stored) == (200 + fault_command.ROWS, 200 + fault_command.ROWS)
    assert found(killed + whole[:-1], 1).lost == 1
    assert found(killed[:50] + killed[51:] + whole, 2).lost == 1
    assert found(killed[:60] + whole, 3).lost == 60  # 120 were due: 4 s less commit and slack, at 60 a second
    assert found([*killed, killed[7], *whole], 4).duplicated == 1
    assert found([*killed[:-1], replayed(1, 199, odometer_m=1.0), *whole], 5).altered == 1
    assert found([*killed, *whole, replayed(2, fault_command.ROWS, NOW + 60 * S)], 6).invented == 1
