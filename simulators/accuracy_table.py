"""The accuracy report as Markdown, for the terminal and the README, and as plain values for JSON."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from simulators.accuracy import Report
from simulators.emptiness import SAME_CAUSE, Emptiness, Judged, Missed


def _percent(value: float, digits: int = 1, sign: bool = False) -> str:
    return "–" if math.isnan(value) else f"{100 * value:{'+' if sign else ''}.{digits}f} %"


def empty_table(rows: Sequence[Emptiness]) -> list[str]:
    """Lines of the table of empty running, one row for each kind of evidence."""
    head = (
        "| empty running, by km, from | vehicles | km | true share | reported, low to high "
        "| unknown | precision | recall | days inside |"
    )
    lines = [head, "|---|---|---|---|---|---|---|---|---|"]
    return lines + [
        f"| {x.evidence} | {x.vehicles} | {x.km:,.0f} | {_percent(x.true_share)} "
        f"| {_percent(x.reported_low)} to {_percent(x.reported_high)} | {_percent(x.unknown_share)} "
        f"| {_percent(x.precision)} | {_percent(x.recall)} | {_percent(x.days_inside)} |"
        for x in rows
    ]


def judged_tables(rows: Sequence[Judged]) -> list[str]:
    """Lines of two tables: kilometres by what they truly were, and by what was told of them."""
    lines: list[str] = []
    for what in dict.fromkeys(r.what for r in rows):
        of = {(r.true, r.told): r.km for r in rows if r.what == what}
        told = sorted({b for _, b in of})
        lines += ["", f"| {what}, km; truly \\ told | {' | '.join(told)} |", "|---" * (len(told) + 1) + "|"]
        for true in sorted({a for a, _ in of}):
            cells = " | ".join(f"{of[true, b]:,.0f}" if (true, b) in of else "" for b in told)
            lines.append(f"| {true} | {cells} |")
    return lines + _cause_scores([r for r in rows if r.what == "cause of an empty leg"])


def _cause_scores(rows: Sequence[Judged]) -> list[str]:
    """Lines of a table: of the kilometres that truly had a cause, the share told so, and of those told so, the share that had it."""
    if not rows:
        return []
    lines = ["", "| cause | km, truly | told so (recall) | of those told so, true (precision) |", "|---|---|---|---|"]
    for cause in dict.fromkeys(SAME_CAUSE.values()):
        true = sum(r.km for r in rows if SAME_CAUSE.get(r.true) == cause)
        told = sum(r.km for r in rows if r.told == cause)
        both = sum(r.km for r in rows if SAME_CAUSE.get(r.true) == r.told == cause)
        if true or told:
            recall, precision = (both / of if of else math.nan for of in (true, told))
            lines.append(f"| {cause} | {true:,.0f} | {_percent(recall)} | {_percent(precision)} |")
    return lines


def missed_tables(rows: Sequence[Missed]) -> list[str]:
    """Lines of a table for each evidence: kilometres not known, wrong and driven, by class and true load."""
    lines: list[str] = []
    for evidence in dict.fromkeys(r.evidence for r in rows):
        lines += [
            "",
            f"| {evidence}: load, of its kilometres | class | km | unknown | wrong |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {r.load} | {r.vehicle_class} | {r.all_km:,.0f} | {_percent(r.unknown_km / r.all_km)} | {_percent(r.wrong_km / r.all_km)} |"
            for r in rows
            if r.evidence == evidence and r.all_km > 0.0
        ]
    return lines


def markdown(report: Report, live: Mapping[str, Any] | None, date: str) -> str:
    """Tables of errors, empty running, delivery and latency. ``live``: final figures of a demo run, None if none was made."""
    lines = [
        (
            f"Scenario {report.scenario}, seed {report.seed}, {report.hours:g} h of virtual time, {report.readings:,} readings, "
            f"factors {report.factor_set}, {date}. Error of CO2e (well-to-wheel) against the simulated truth under the same factors; "
            "1 s, 1 km, trip: median of the absolute errors; share: part of the true CO2e that had a figure of this kind."
        ),
        "",
        "| vehicles | figure from | n | trips | 1 s | 1 km | trip | trip, 95th percentile | all, signed | trips in 95 % band | share |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {e.vehicle_class} | {e.method} | {e.vehicles} | {e.trips} | {_percent(e.second)} | {_percent(e.km)} | {_percent(e.trip)} "
        f"| {_percent(e.trip_p95)} | {_percent(e.total, sign=True)} | {_percent(e.band, 0)} | {_percent(e.share, 0)} |"
        for e in report.errors
    ]
    lines += ["", *empty_table(report.emptiness), *judged_tables(report.judged)]
    d = report.delivery
    faults = ", ".join(f"{n} {kind}" for kind, n in sorted(d.faults.items()))
    lines += [
        "",
        "| readings through faults | value |",
        "|---|---|",
        f"| faults, in messages | {faults} |",
        f"| sent, stored | {d.sent:,}, {d.stored:,} |",
        f"| lost, duplicated | {d.lost}, {d.duplicated} |",
        f"| hostile messages, refused | {d.hostile}, {d.hostile_refused} |",
    ]
    if live is not None:
        latency = live["latency"]
        times = ", ".join("–" if latency[k] is None else f"{latency[k]:.2f} s" for k in ("p50_s", "p99_s"))
        lines += [
            "",
            f"| live run, {live['trucks']} trucks, {live['broker']} | value |",
            "|---|---|",
            f"| sent, stored, lost, duplicated | {live['sent']:,}, {live['stored']:,}, {live['lost']}, {live['duplicated']} |",
            f"| {latency['of']}, batches of 1 s, p50 and p99 | {times} |",
        ]
    return "\n".join(lines)


def plain(report: Report, live: Mapping[str, Any] | None, date: str) -> dict[str, Any]:
    """The same as a tree for JSON; what is not known is None."""
    tree = dataclasses.asdict(report)
    tree["date"] = date
    tree["live"] = live
    cleaned: dict[str, Any] = _without_nan(tree)
    return cleaned


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, Mapping):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    return value
