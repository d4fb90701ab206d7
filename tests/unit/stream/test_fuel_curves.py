"""The curves of the plot page against what the published table says of itself, and against limits."""

import itertools

import pytest

from stream.factors import parse_classes
from tests.plots.fuel_curves import EEA, EEA_GRADES, EEA_SPEEDS_KMH, LOADS, against_published, steady
from tests.support import ROOT

CLASSES = parse_classes((ROOT / "stream" / "vehicle_classes.csv").read_text(encoding="utf-8"))
MOVING = sorted(n for n, c in CLASSES.items() if c.p_rated_kw > 0)


def test_points_are_typed_as_published() -> None:
    """Section 3.3 also prints the ratio of empty to full: it must come out of the points."""
    artic = [row[0] / row[2] for row in EEA["artic_40t"][1]]
    assert (min(artic), max(artic)) == pytest.approx((0.57, 0.61), abs=0.006)
    small = [row[0] / row[2] for row in EEA["rigid_7.5t"][1]]
    assert (min(small), max(small)) == pytest.approx((0.83, 0.91), abs=0.006)
    assert EEA_GRADES[0] == EEA["artic_40t"][1][EEA_SPEEDS_KMH.index(70)][1]


@pytest.mark.parametrize("name", MOVING)
@pytest.mark.parametrize("speed", [10.0, 30.0, 50.0, 85.0])
def test_load_and_grade_cost_energy(name: str, speed: float) -> None:
    by_load = [steady(CLASSES[name], speed, load).use for load in LOADS]
    assert all(a < b for a, b in itertools.pairwise(by_load))
    by_grade = [steady(CLASSES[name], speed, 0.5, g).use for g in (0.0, 0.005, 0.01)]
    assert all(a < b for a, b in itertools.pairwise(by_grade))


@pytest.mark.parametrize("name", sorted(EEA))
def test_a_kept_speed_is_near_the_points_where_stops_are_few(name: str) -> None:
    found = against_published(CLASSES[name], name)
    for load in LOADS:
        assert abs(found[70, load]) < 0.16  # class defaults: 15 % per trip is the aim
        assert found[30, load] < found[50, load] < found[70, load]  # the points hold ever more stops


def test_artic_on_grades() -> None:
    for grade, litres in EEA_GRADES.items():
        model = steady(CLASSES["artic_40t"], 70.0, 0.5, grade / 100)
        if grade > 0:
            assert model.use == pytest.approx(litres, rel=0.05)
            assert not model.capped
        if grade < 0:
            assert model.use == 0.0
    assert steady(CLASSES["artic_40t"], 70.0, 0.5, 0.06).capped  # why the table has no +6 %
