"""The limits that colour a panel and that fire an alert: one number for both."""

from typing import Final

STALE_S: Final = (
    120.0  # age of the newest reading of a route or site before it is called stale; gateways send every 10 s
)
COVERAGE_LOW: Final = 0.8  # share of expected time with readings
MEASURED_LOW: Final = 0.5  # share of CO2e whose fuel or energy was measured
EMPTY_OVER_BENCHMARK_PP: Final = 5.0  # percentage points of the low bound above the benchmark
BUDGET_OVER: Final = 1.0  # CO2e of the period over its target
LATENCY_S: Final = 2.0  # reading to SQL, the promise under load
BACKLOG_S: Final = 600.0  # age of the oldest reading that came in late
OUTBOX_FULL: Final = 0.5  # share of a gateway's outbox; beyond its end readings are thinned
IDLE_MIN: Final = 5.0  # engine running at a dock
SILENT_S: Final = 600.0  # of a source that was at work when last heard
DISK_FREE_LOW: Final = 0.15  # share of the disk
DISK_DAYS_LOW: Final = 14.0  # until it is full at the pace of the last week
DRAIN_L: Final = 5.0  # fuel that left a tank while parked
G_PER_KM: Final = (700.0, 1000.0)  # of a vehicle on the map: green below, red above
"""Colours of the map only; a class of vehicle has its own level."""
