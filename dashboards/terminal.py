"""Live figures as text: a rich table where there is a terminal, plain lines elsewhere. An unknown figure is a dash, never 0."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dashboards.live import RouteNow, WarehouseNow


@dataclass(frozen=True, slots=True)
class Flow:
    """How the data flows. Seconds are None before the first was measured; ``lost`` counts readings, after all were confirmed."""

    elapsed_s: float
    broker: str
    factor_set: str
    speed: float
    gateways: int
    online: int
    sent: int
    stored: int
    on_the_way: int
    lost: int
    duplicates: int
    rejected: int
    per_s: float
    latency_p50_s: float | None
    latency_p99_s: float | None
    latency_of: str


def number(value: float | None, digits: int = 1) -> str:
    """``value`` for people; a dash when it is not known."""
    return "–" if value is None else f"{value:,.{digits}f}"


def percent(share: float | None) -> str:
    """A share of 1 as percent; a dash when it is not known."""
    return "–" if share is None else f"{100 * share:.0f} %"


def band(rel: float | None) -> str:
    """A relative half-width as ± percent; a dash when it is not known."""
    return "–" if rel is None else f"±{100 * rel:.1f} %"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left", expand=True, pad_edge=False, header_style="bold")
    for i, head in enumerate(heads):
        table.add_column(head, justify="left" if i == 0 else "right", no_wrap=i > 0)
    for row in rows:
        table.add_row(*row)
    return table


def flow_line(f: Flow) -> str:
    """One line: throughput, latency, losses."""
    return (
        f"{f.elapsed_s:6.1f} s  {f.online}/{f.gateways} gateways  {f.per_s:,.0f} readings/s  sent {f.sent:,}  stored {f.stored:,}  "
        f"on the way {f.on_the_way:,}  lost {f.lost}  duplicated {f.duplicates}  rejected {f.rejected}  "
        f"{f.latency_of} p50 {_seconds(f.latency_p50_s)} p99 {_seconds(f.latency_p99_s)}"
    )


def picture(flow: Flow, routes: Sequence[RouteNow], warehouses: Sequence[WarehouseNow]) -> RenderableType:
    """The whole screen."""
    head = Text.assemble(
        ("fleetco2", "bold green"),
        f"  live CO2e, well-to-wheel, factors {flow.factor_set}; the last one to two minutes of data",
        f"{'' if flow.speed == 1 else f', simulated clock x{flow.speed:g}'}; broker {flow.broker}",
    )
    by_route = _table(
        "Routes",
        ["route", "trucks", "kg CO2e/h", "g CO2e/km", "band 95 %", "measured", "coverage", "age", "kg since start"],
        [
            (
                r.name,
                number(r.vehicles, 0),
                number(r.kg_per_h),
                number(r.g_per_km, 0),
                band(r.u_rel),
                percent(r.measured),
                percent(r.coverage),
                _seconds(r.age_s),
                number(r.total_kg, 2),
            )
            for r in routes
        ],
    )
    by_site = _table(
        "Warehouses",
        ["warehouse", "kW grid", "kg CO2e/h", "band 95 %", "measured", "coverage", "age", "kg since start"],
        [
            (
                w.name,
                number(w.power_kw),
                number(w.kg_per_h),
                band(w.u_rel),
                percent(w.measured),
                percent(w.coverage),
                _seconds(w.age_s),
                number(w.total_kg, 3),
            )
            for w in warehouses
        ],
    )
    return Group(head, by_route, by_site, Text(flow_line(flow)))


def plain(flow: Flow, routes: Sequence[RouteNow], warehouses: Sequence[WarehouseNow]) -> str:
    """The same without a terminal: one line for the flow, one for each route and warehouse."""
    lines = [flow_line(flow)]
    lines += [
        f"  route {r.route:16} {number(r.kg_per_h):>9} kg CO2e/h WTW {band(r.u_rel):>8}  {number(r.g_per_km, 0):>7} g/km  "
        f"measured {percent(r.measured)}  coverage {percent(r.coverage)}  age {_seconds(r.age_s)}"
        for r in routes
    ]
    lines += [
        f"  warehouse {w.warehouse:12} {number(w.kg_per_h):>9} kg CO2e/h WTW {band(w.u_rel):>8}  {number(w.power_kw):>7} kW    "
        f"measured {percent(w.measured)}  coverage {percent(w.coverage)}  age {_seconds(w.age_s)}"
        for w in warehouses
    ]
    return "\n".join(lines)
