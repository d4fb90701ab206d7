"""Faults planted into the simulated vehicles' scales: found where torque is sent, and none where nothing was planted."""

import numpy as np

from simulators.accuracy import fleet_of
from simulators.fleet import build
from stream.columns import CHOSEN_SOURCES, EVENT_KINDS
from stream.pipeline import Columns, start, step

HOURS = 8
FROM_S = 3600
BIAS_KG = 8_000.0
HONEST, HIGH, LOW, STUCK = range(4)
DRIVEN_KM = 60.0  # a fault needs a trip to show in


def _planted(readings: Columns, stuck: dict[int, float]) -> Columns:
    """Every fourth vehicle's scales are honest, 8 t high, 8 t low, or stay where they were."""
    weight = readings["gross_weight_kg"].copy()
    sort = readings["device"] % 4
    weight[sort == HIGH] += BIAS_KG
    weight[sort == LOW] -= BIAS_KG
    for device in np.unique(readings["device"][sort == STUCK]).tolist():
        rows = (readings["device"] == device) & ~np.isnan(weight)
        if rows.any():
            weight[rows] = stuck.setdefault(device, float(weight[rows][0]))
    return {**readings, "gross_weight_kg": weight}


def test_planted_faults_are_found_and_honest_scales_are_no_case() -> None:
    world = build("demo", 4, warmup_s=3600)
    fleet = fleet_of(world, "fleetco2-2025.1")
    state = start(fleet)
    n = len(world.devices)
    heard, off_km = np.zeros(n), np.zeros(n)
    chosen: dict[int, set[str]] = {}
    stuck: dict[int, float] = {}
    for chunk in world.chunks(HOURS * 3600, chunk_s=1800):
        batch = _planted(chunk.readings, stuck) if chunk.end_s > FROM_S else chunk.readings
        state, results = step(state, {**batch, "cargo_kg": np.full(chunk.n, np.nan)})
        device = chunk.truth["device"]
        weight = batch["gross_weight_kg"]
        heard += np.bincount(device, ~np.isnan(weight), n)
        off = np.abs(weight - chunk.truth["mass_kg"]) > 0.75 * BIAS_KG
        off_km += np.bincount(device, chunk.truth["distance_m"] * off, n) / 1000
        e = results.events
        for i in np.flatnonzero(e["kind"] == list(EVENT_KINDS).index("weight_conflict")).tolist():
            chosen.setdefault(int(e["device"][i]), set()).add(CHOSEN_SOURCES[e["chosen"][i]])
    weighs = heard > 0
    sort = np.arange(n) % 4
    honest = set(np.flatnonzero(weighs & (sort == HONEST)).tolist())
    wrong = set(np.flatnonzero(weighs & (sort != HONEST) & (off_km > DRIVEN_KM)).tolist())
    assert len(honest) >= 4 <= len(wrong)
    assert not honest & set(chosen)
    assert wrong <= set(chosen)
    assert all("can_mass" in chosen[device] for device in wrong)
