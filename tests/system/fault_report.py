"""RELIABILITY.md from the outcomes of fault runs, and from nothing else."""

import datetime
import os
import platform
import re
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final, NamedTuple

from simulators.local_broker import find_mosquitto
from tests.system.fault_runs import SCENARIOS, Outcome

PACKAGES: Final = ("aiomqtt", "paho-mqtt", "msgspec", "pyarrow", "deltalake", "duckdb", "numba", "cryptography")


class Promise(NamedTuple):
    """A sentence, and the scenarios that must all have run, and run well, for it to be printed."""

    text: str
    proof: tuple[str, ...]


PROMISES: Final = (
    Promise(
        "A reading that the gateway has on its disk (sampled at most one commit interval ago) is stored exactly once and unaltered, "
        "through any kill -9 of broker, consumer or gateway, one after another or together.",
        ("broker_killed", "broker_empty", "consumer_killed", "gateways_killed", "all_killed"),
    ),
    Promise(
        "Kills aimed at single system calls, drawn from those of the first commits, change nothing of that.",
        ("consumer_points", "gateway_points"),
    ),
    Promise("The broker may forget everything, and may speak MQTT 3.1.1 only.", ("broker_empty", "broker_old")),
    Promise(
        "A disk that is full or refuses stops the confirmations and nothing else; delivery goes on by itself when it takes data again.",
        ("lake_full", "consumer_errors", "gateway_errors", "outbox_disk_full"),
    ),
    Promise(
        "An outbox that overflows thins the oldest: each row says how many readings it stands for, shows the newest's gauges, and the "
        "totals are kept.",
        ("outbox_full",),
    ),
    Promise(
        "Late, slow, stalled, half-open and reset connections cost time only.",
        ("latency", "reset", "half_open", "stall", "slow_link"),
    ),
    Promise("So does the loss of 30 % of all packets.", ("packet_loss",)),
    Promise("Repeats, disorder and poison change nothing that is stored.", ("replayed", "poison")),
    Promise("A reading whose clock is wrong is kept in quarantine under its number, once.", ("clock_jumps",)),
    Promise(
        "Ten times more than the server can take, for a minute, is kept on the gateways, then drained; memory stays flat.",
        ("overload",),
    ),
    Promise(
        "The same holds for the gateway's own command behind TLS, with certificates on both sides and the shipped rules.",
        ("command",),
    ),
    Promise(
        "A compaction killed at a system call leaves nothing half done, and a reader beside it sees no half change.",
        ("compaction_killed",),
    ),
)
ABOUT: Final = (
    "Made by `{command}` on {today} from the outcomes of {runs} runs; do not edit. Real mosquitto, real `python -m ingest`, gateways "
    "with their outbox on disk and signed batches, a real lake. Each gateway process writes every sample into a ledger before it "
    "hands it over. After a run the ledger is compared with the Parquet, reading by reading, without code of this project; the "
    "totals of fuel and distance must be those of the gauges to the millilitre and the metre (except where readings are "
    "kept in quarantine), and `storage verify` must find nothing."
)
COLUMNS_ABOUT: Final = (
    "Faults: kills, cuts, messages or the like. Unsent: readings of killed gateways that were not on their disk yet, in brackets the "
    "age of the oldest when it was killed (commit interval here 0.5 or 1 s, by default 10 s). Recovery: from the end of the fault (a "
    "process started again, a link healed) to the commit of the first reading received after it: with the start of Python and its "
    "compiled kernels, reconnecting, and the wait of up to a second for the next batch. What is killed again before it recovered "
    "counts from its first start on."
)
DETAILS_ABOUT: Final = "Figures are the greatest of all runs of a fault; of calls hit (`at ...`) the sum."
COLUMNS: Final = (
    *("fault", "runs", "seeds", "faults", "readings", "lost", "duplicated", "altered", "invented", "unsent"),
    *("recovery p50 / p99 [s]", "peak RSS of the consumer [MiB]"),
)
NOT_PROMISED: Final = (
    "loss of a gateway's card; a power cut (kill -9 keeps the page cache; the outbox's modelled disk and the storage tests cover what "
    "is synced); more than one consumer on a lake; gateways and server on machines of their own"
)


def report(
    outcomes: Sequence[Outcome], *, command: str, today: datetime.date, simulated: Mapping[str, Any] | None = None
) -> str:
    """The whole document. ``simulated``: what ``python -m tests.system.vopr --json`` gave, None if it was not run."""
    ran = [o for o in outcomes if not o.skipped]
    good = {n for n in SCENARIOS if (mine := [o for o in ran if o.scenario == n]) and not any(o.failed for o in mine)}
    chosen = [n for n in SCENARIOS if any(o.scenario == n for o in ran)]
    lines = ["# Reliability: real processes under faults", ""]
    lines += [ABOUT.format(command=command, today=today, runs=len(ran)), "", _sums(ran), ""]
    lines += ["## What these runs show", "", "In brackets the number of faults that show it.", ""]
    for p in PROMISES:
        hits = {n: sum(o.faults for o in ran if o.scenario == n) for n in p.proof}
        proof = ", ".join(f"{SCENARIOS[n].fault}: {hits[n]:,}" for n in p.proof)
        lines.append(f"- {p.text} ({proof})" if good.issuperset(p.proof) else f"- NOT SHOWN by this run: {p.text}")
    lines += [f"- Not promised: {NOT_PROMISED}.", "", "## Runs", "", COLUMNS_ABOUT, ""]
    lines += ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += [_row(name, [o for o in ran if o.scenario == name]) for name in chosen]
    lines += [
        "",
        "## How, and what else was seen",
        "",
        DETAILS_ABOUT,
        "",
        "| fault | how it is produced | figures |",
        "|---|---|---|",
    ]
    lines += [_detail(name, [o for o in ran if o.scenario == name]) for name in chosen] + [""]
    if simulated is not None:
        lines += ["## Seeded simulator", "", *_simulated(simulated), ""]
    skipped = {o.scenario: o.skipped for o in outcomes if o.skipped}
    missing = [n for n in SCENARIOS if not any(o.scenario == n for o in outcomes)]
    if skipped or missing:
        lines += ["## Not run", ""]
        lines += [f"- {SCENARIOS[n].fault}: {why}" for n, why in skipped.items()]
        lines += [f"- {SCENARIOS[n].fault}: not chosen" for n in missing] + [""]
    if failed := [o for o in ran if o.failed]:
        lines += (
            ["## Failed", ""] + [f"- {SCENARIOS[o.scenario].fault}, seed {o.seed}: {o.failed}" for o in failed] + [""]
        )
    lines += ["## Machine", "", *(f"- {line}" for line in machine()), ""]
    return "\n".join(lines)


def _sums(ran: Sequence[Outcome]) -> str:
    sampled, faults = sum(o.sampled for o in ran), sum(o.faults for o in ran)
    counts = ", ".join(
        f"{name} {sum(getattr(o, name) for o in ran)}" for name in ("lost", "duplicated", "altered", "invented")
    )
    failed = sum(bool(o.failed) for o in ran)
    end = f" {failed} runs failed, see below." if failed else " No run failed."
    return f"**{sampled:,} readings, {faults:,} faults: {counts}.**{end}"


def _simulated(s: Mapping[str, Any]) -> list[str]:
    """The cores of gateway and consumer on virtual time, with a broker, disk, clock and network that lie."""
    counts = ", ".join(f"{name} {s[name]}" for name in ("lost", "duplicated", "altered", "invented"))
    last = s["first_seed"] + s["seeds"] - 1
    text = (
        f"`python -m tests.system.vopr`, seeds {s['first_seed']} to {last}: {s['hours']:,.0f} virtual hours in {s['cpu_s']:,.0f} s of CPU "
        f"time, {s['readings']:,} readings: **{counts}**; {s['unsynced']:,} not yet on a disk when the power went, {s['merged']:,} merged "
        f"by a full outbox, {s['reported_gone']:,} reported as gone, {len(s['failures'])} seeds failed. "
        f"Coming to rest after the last fault: p50 {s['settle_s']['p50']:.0f} s, p99 {s['settle_s']['p99']:.0f} s of virtual time."
    )
    return [
        text,
        "",
        "Faults: " + ", ".join(f"{k.replace('_', ' ')} {n:,}" for k, n in sorted(s["faults"].items())) + ".",
    ]


def _row(name: str, mine: Sequence[Outcome]) -> str:
    entry = SCENARIOS[name]

    def total(field: str) -> str:
        return f"{sum(getattr(o, field) for o in mine):,}"

    waits = sorted(s for o in mine for s in o.recovery_s)
    recovery = f"{statistics.median(waits):.1f} / {quantile(waits, 0.99):.1f}" if waits and entry.timing else ""
    unsent = total("unsent") if any(o.unsent for o in mine) else "0"
    if oldest := max(o.oldest_unsent_s for o in mine):
        unsent += f" (≤ {oldest:.1f} s)"
    cells = [
        entry.fault,
        str(len(mine)),
        seeds([o.seed for o in mine]),
        *(total(f) for f in ("faults", "sampled", "lost", "duplicated", "altered", "invented")),
        unsent,
        recovery,
        f"{max(o.peak_rss_mib.get('consumer', 0) for o in mine):.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def _detail(name: str, mine: Sequence[Outcome]) -> str:
    figures: dict[str, float] = {}
    for o in mine:
        for key, value in (
            o.figures | ({"thinned": o.thinned} if o.thinned else {}) | ({"kept": o.kept} if o.kept else {})
        ).items():
            figures[key] = figures.get(key, 0) + value if key.startswith("at_") else max(figures.get(key, value), value)
    told = ", ".join(f"{key.replace('_', ' ')} {value:g}" for key, value in figures.items())
    return f"| {SCENARIOS[name].fault} | {SCENARIOS[name].how} | {told} |"


def quantile(values: Sequence[float], q: float) -> float:
    """The ``q`` quantile of sorted values: the smallest that at least this share does not exceed."""
    return values[min(len(values) - 1, max(0, -int(-q * len(values) // 1) - 1))]


def seeds(numbers: Sequence[int]) -> str:
    """1, 2, 3, 7 as "1-3, 7"."""
    parts: list[list[int]] = []
    for n in sorted(set(numbers)):
        if parts and n == parts[-1][-1] + 1:
            parts[-1].append(n)
        else:
            parts.append([n])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)


def machine() -> list[str]:
    """Class of machine and versions; nothing that names this one."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    load = os.getloadavg()[2]
    kernel = ".".join(platform.release().split(".")[:2])
    others = ", and other programs with them" if load > 3 else ""
    hardware = f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GiB, {platform.system()} {kernel}"
    return [
        f"{hardware}; broker, consumer, gateways and judge share the cores{others} (load average {load:.1f})",
        f"mosquitto {_mosquitto()}, Python {platform.python_version()}, fleetco2 {version('fleetco2')}",
        ", ".join(f"{name} {version(name)}" for name in PACKAGES),
    ]


def _mosquitto() -> str:
    path = find_mosquitto()
    if path is None:
        return "absent"
    done = subprocess.run([path, "-h"], capture_output=True, text=True, check=False)
    found = re.search(r"version (\S+)", done.stdout + done.stderr)
    return found[1] if found else "of unknown version"


def summary(outcome: Outcome) -> str:
    """One line for the terminal."""
    if outcome.skipped:
        return f"skipped: {outcome.skipped}"
    counts = f"lost {outcome.lost}, dup {outcome.duplicated}, altered {outcome.altered}, invented {outcome.invented}"
    worst = f", recovery <= {max(outcome.recovery_s):.1f} s" if outcome.recovery_s else ""
    end = f"  FAILED: {outcome.failed}" if outcome.failed else ""
    return f"{outcome.faults} faults, {outcome.sampled:,} readings: {counts}{worst} ({outcome.seconds:.0f} s){end}"
