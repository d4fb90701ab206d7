"""Counters: by name, by label, bounded, and each explained."""

import re
from pathlib import Path

import devices.counters
from devices.counters import MAX_LABELS, NAMES, Counters


def test_totals_and_labels() -> None:
    counters = Counters()
    counters.add("stalled")
    counters.add("stalled", 4)
    counters.add("value_out_of_range", 2, "hdop")
    counters.add("value_out_of_range", 1, "lat_deg")
    assert (counters["stalled"], counters["value_out_of_range"], counters["connected"]) == (5, 3, 0)
    assert counters.snapshot() == {"stalled": 5, "value_out_of_range": 3}
    assert counters.by_label("value_out_of_range") == {"hdop": 2, "lat_deg": 1}


def test_labels_are_bounded_and_none_is_lost() -> None:
    counters = Counters()
    for i in range(3 * MAX_LABELS):
        counters.add("signal_unknown", label=f"name{i}")
    labels = counters.by_label("signal_unknown")
    assert len(labels) == MAX_LABELS + 1
    assert labels["other"] == 2 * MAX_LABELS
    assert sum(labels.values()) == counters["signal_unknown"] == 3 * MAX_LABELS


def test_a_snapshot_does_not_change_later() -> None:
    counters = Counters()
    counters.add("stalled")
    snapshot = counters.snapshot()
    counters.add("stalled")
    assert snapshot == {"stalled": 1}


def test_every_name_says_who_counts_what() -> None:
    text = Path(devices.counters.__file__).read_text(encoding="utf-8")
    assert all(re.search(rf'"{name}",  # (gateway|server|both)', text) for name in NAMES)
