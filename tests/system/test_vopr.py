"""Whole worlds by seed: gateways, broker, network, consumer and lake fail in every way, and each reading stands once, as it was.

``python -m tests.system.vopr --help`` runs more of them; a failure prints its seed and the command that shows it again.
"""

import json
import random
import subprocess
import sys

import pytest

from tests.support import ROOT
from tests.system.vopr.dice import FAULTS, plan_of
from tests.system.vopr.world import FailedError, World, run_seed

FRESH = random.SystemRandom().randrange(10**6, 2**31)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(100, "fleetco2.ingest")  # each refused commit is logged


@pytest.mark.parametrize(("seed", "hours"), [(s, None) for s in range(12)] + [(s, 168.0) for s in range(100, 114)])
def test_every_reading_stands_once_as_it_was_or_is_told_to_be_gone(seed: int, hours: float | None) -> None:
    outcome = run_seed(seed, hours)
    assert outcome.counts["stored"] > 0
    assert outcome.readings > 0


def test_a_seed_that_nobody_has_tried() -> None:
    print(f"seed {FRESH}")
    run_seed(FRESH)


@pytest.mark.parametrize("seed", [3, 15])
def test_with_the_real_lake_on_a_disk_that_fails(seed: int) -> None:
    assert run_seed(seed, 0.5, real_lake=True).counts["stored"] > 0


@pytest.mark.parametrize("seed", [3, 16, 112])
def test_seeds_that_have_found_something(seed: int) -> None:
    """112: a later batch without the one before after a power cut, while the journal had its readings."""
    run_seed(seed, 3.0)


def test_a_seed_does_the_same_again() -> None:
    def lines() -> list[str]:
        said: list[str] = []
        run_seed(2, 1.0, say=said.append)
        return said

    first = lines()
    assert len(first) > 20
    assert lines() == first


def test_a_failure_names_its_seed_and_how_to_see_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(World, "_judge", lambda self: 1 / 0)
    with pytest.raises(
        FailedError, match=r"seed 2: .*\nreplay: python -m tests.system.vopr --seed 2 --hours 0.5 --trace"
    ):
        run_seed(2, 0.5)


def test_the_dice_know_every_fault_and_the_world_has_each() -> None:
    seen = {name for seed in range(60) for name in plan_of(random.Random(seed), None).every_s}
    assert seen == set(FAULTS)
    assert all(hasattr(World, f"_{name}") for name in FAULTS)


def test_the_command_tells_what_it_did() -> None:
    command = [sys.executable, "-m", "tests.system.vopr", "--seeds", "1", "--first", "2", "--hours", "0.5"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=100)
    told = json.loads(done.stdout)
    assert (told["seeds"], told["first_seed"], told["failures"]) == (1, 2, [])
    assert told["lost"] == told["duplicated"] == told["altered"] == told["invented"] == 0
    assert told["readings"] >= told["stored"] > 0
