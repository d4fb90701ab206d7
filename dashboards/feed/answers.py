"""What a key may be told: cells looked up, hidden where they are small, held against baselines, and given their state."""

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Final

import duckdb
import msgspec

from dashboards.feed.disclosure import hide
from dashboards.feed.keys import Key
from dashboards.feed.periods import Period, iso, moment, year
from dashboards.feed.problem import ProblemError
from dashboards.feed.progress import (
    BOUNDARY,
    HUB_BOUNDARY,
    KGM_PER_TKM,
    UG_PER_KG,
    Baseline,
    Benchmark,
    Figure,
    Target,
    figure,
    hidden,
    hub,
)
from dashboards.feed.reader import CommitMark, Reader, query
from dashboards.feed.state import Known, Rules, State, state
from dashboards.feed.sums import NONE, By, Received, Sums, cells, counts, factor_sets, received

BASE_DAYS_MIN: Final = 347  # of a measured base year that must have rows: 95 %
_DETAIL: Final = {
    "operator": "totals",
    "region": "totals",
    "route_group": "routes",
    "route": "routes",
    "warehouse": "routes",
    "vehicle": "vehicles",
}
PARTITIONS: Final[tuple[By, ...]] = ("region", "route_group", "route")  # each splits an operator's total
_SCOPES: Final = {
    "operator": "operator",
    "region": "region",
    "route_group": "stage",
    "route": "route",
    "warehouse": "warehouse",
}


class Commit(msgspec.Struct, frozen=True):
    """The newest commit behind an answer: number, server time, SHA-256 of its ledger line."""

    n: int
    time: str
    sha256: str


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Progress of every cell that a key may see. ``from`` is part of the period, ``to`` is not."""

    from_: Annotated[str, msgspec.Meta(description="UTC")] = msgspec.field(name="from")
    to: str
    by: By
    factor_set: str
    boundary: str
    kernel_versions: tuple[int, ...]
    commit: Commit | None
    generated: str
    k: Annotated[int, msgspec.Meta(description="cells of fewer vehicles are hidden; 1 = none")]
    figures: tuple[Figure, ...]


class Archived(msgspec.Struct, frozen=True):
    """What the archive knows of a published figure: its id, whether its commits are sealed, and its sums."""

    id: str
    signed_root: bool
    sums: Mapping[str, int]


Archive = Callable[[str, str, str, Period, str], Archived | None]  # tenant, by, name, period, factor set


def commit_of(mark: CommitMark | None) -> Commit | None:
    """A commit as answers name it."""
    return None if mark is None else Commit(mark.n, iso(mark.time_ns), mark.sha256)


def may_ask(key: Key, by: By, period: Period, tenant: str | None) -> None:
    """Raises ProblemError 403 for what the key does not reach, saying what it may ask instead."""
    if not key.reaches(_DETAIL[by]):  # type: ignore[arg-type]
        raise ProblemError(403, f"your key's detail is {key.detail!r}; by={by} needs {_DETAIL[by]!r}")
    if not key.sees_region(None) and by != "region":
        raise ProblemError(403, f"your key is limited to the regions {', '.join(key.regions)}; ask with by=region")
    if tenant is not None and not key.sees_tenant(tenant):
        raise ProblemError(403, f"your key does not reach the tenant {tenant!r}")
    if key.hides and not period.is_month:
        raise ProblemError(
            403, "your key sees whole calendar months, so that no single doings can be subtracted; ask from=2026-11"
        )


def choose_factor_set(cursor: duckdb.DuckDBPyConnection, asked: str | None) -> str:
    """The factor set of an answer: the one asked for, else the one with the newest results. Raises ProblemError 404."""
    known = factor_sets(cursor)
    if asked is not None and asked not in known:
        raise ProblemError(404, f"no results under the factor set {asked!r}; there are: {', '.join(known) or 'none'}")
    if not known:
        raise ProblemError(404, "the lake holds no results yet; ask again when the first minute is stored")
    return asked or known[-1]


def loss_of(s: Sums, here: Mapping[str, Received]) -> float | None:
    """Share of the cell's readings that were numbered by their gateways and are not here."""
    found = [here[asset] for asset in s.assets if asset in here]
    numbered = sum(r.numbered for r in found)
    return 1.0 - sum(r.here for r in found) / numbered if numbered else None


class _References:
    """Baselines, targets and benchmarks of the registry."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, by: By, factor_set: str, own: str) -> None:
        self._by, self._factor_set = by, factor_set
        scope = _SCOPES.get(by)
        rows = query(cursor, "SELECT * FROM baselines WHERE scope = $scope", {"scope": scope}) if scope else []
        self._rows = {(r["tenant"] or own, r["key"]): r for r in rows}
        self._measured: dict[int, dict[tuple[str, str], Sums]] = {}
        for number in sorted({r["baseline_year"] for r in rows if r["baseline_co2e_wtw_kg"] is None}):
            found = cells(cursor, by, year(number), factor_set, own)
            self._measured[number] = {(s.tenant, s.name): s for s in found}
        self._benchmarks = query(cursor, "SELECT * FROM benchmarks ORDER BY year DESC, region NULLS LAST")

    def of(self, tenant: str, name: str) -> tuple[Baseline | None, Target | None]:
        """Baseline and target of a cell; no baseline where it does not hold under this factor set."""
        row = self._rows.get((tenant, name))
        if row is None:
            return None, None
        target = None
        if row["target_year"] is not None:
            absolute, intensity = row["target_reduction_pct"], row["target_intensity_reduction_pct"]
            target = Target(
                row["target_year"],
                None if absolute is None else absolute / 100.0,
                None if intensity is None else intensity / 100.0,
            )
        return self._baseline(row, tenant, name), target

    def _baseline(self, row: Mapping[str, Any], tenant: str, name: str) -> Baseline | None:
        period = year(row["baseline_year"])
        if row["baseline_co2e_wtw_kg"] is not None:
            if row["factor_set"] != self._factor_set:
                return None  # two vintages are never held against each other
            unit = "t" if self._by == "warehouse" else "tkm"
            return Baseline(
                period=period,
                factor_set=row["factor_set"],
                source="stated",
                co2e_wtw_kg=row["baseline_co2e_wtw_kg"],
                co2e_ttw_kg=row["baseline_co2e_ttw_kg"],
                activity=row["baseline_activity"] if row["activity_unit"] == unit else None,
            )
        s = self._measured[row["baseline_year"]].get((tenant, name))
        if s is None or s.days < BASE_DAYS_MIN:
            return None
        return Baseline(
            period=period,
            factor_set=self._factor_set,
            source="measured",
            co2e_wtw_kg=s.co2e_wtw_ug / UG_PER_KG,
            co2e_ttw_kg=s.co2e_ttw_ug / UG_PER_KG,
            activity=self._activity(s),
        )

    def _activity(self, s: Sums) -> float | None:
        if self._by != "warehouse":
            return s.transport_kgm / KGM_PER_TKM or None
        return s.goods_out_g / 1e6 or None

    def benchmark(self, name: str) -> Benchmark | None:
        """The newest benchmark of the region, else the newest of all."""
        for wanted in ((name,) if self._by == "region" else ()) + (None,):
            for r in self._benchmarks:
                if r["region"] == wanted:
                    share = r["empty_share_pct"] / 100.0
                    return Benchmark(share, r["benchmark"], r["region"], r["year"], r["definition"], r["source"])
        return None


def too_small(
    cursor: duckdb.DuckDBPyConnection, by: By, period: Period, factor_set: str, own: str, k: int
) -> tuple[set[tuple[str, str]], set[str]]:
    """(tenant, cell) of ``by`` that are hidden, and the tenants whose total is.

    A total is hidden where any partition of it would otherwise give a small cell away. So all partitions are looked at, whichever
    is asked for, and every key gets the same answer.
    """
    totals = {t: found[t] for t, found in counts(cursor, "operator", period, factor_set, own).items()}
    small: set[tuple[str, str]] = set()
    lost: set[str] = set()
    for part in PARTITIONS:
        for tenant, vehicles in counts(cursor, part, period, factor_set, own).items():
            out = hide(vehicles, k, total=totals[tenant])
            if out.total:
                lost.add(tenant)
            if part == by:
                small |= {(tenant, name) for name in out.cells}
    if by == "operator":
        small = {(tenant, tenant) for tenant in lost}
    return small, lost


def stands(
    s: Sums,
    by: By,
    period: Period,
    factor_set: str,
    *,
    now_ns: int,
    newest: CommitMark | None,
    loss: float | None,
    rules: Rules,
    archive: Archive,
) -> tuple[tuple[State, tuple[str, ...]], str | None]:
    """State of a cell's figure with the reasons, and the id under which it was published."""
    found = archive(s.tenant, by, s.name, period, factor_set)
    known = Known(
        period=period,
        now_ns=now_ns,
        newest_commit_ns=newest.time_ns if newest else None,
        unknown_share=s.unknown_us / s.observed_us if s.observed_us > 0 else None,
        loss_rate=loss,
        kernel_versions=len(s.kernel_versions),
        published=found is not None,
        signed_root=found is not None and found.signed_root,
        sums_agree=found is not None and all(getattr(s, name) == value for name, value in found.sums.items()),
    )
    return state(known, rules), found.id if found else None


def progress(
    cursor: duckdb.DuckDBPyConnection,
    reader: Reader,
    key: Key,
    by: By,
    period: Period,
    *,
    tenant: str | None,
    asked_set: str | None,
    k: int,
    rules: Rules,
    archive: Archive,
) -> Progress:
    """The answer to a question for progress. Raises ProblemError 403 and 404."""
    may_ask(key, by, period, tenant)
    now, own, newest = reader.now_ns(), reader.own_tenant, reader.newest
    factor_set = choose_factor_set(cursor, asked_set)
    here = period.cut(now)
    hides = key.hides and by != "warehouse"
    running = here != period
    found = cells(cursor, by, here, factor_set, own, k=k if hides and running else 1)
    found = [s for s in found if key.sees_tenant(s.tenant) and (tenant is None or s.tenant == tenant)]
    if by == "region":
        found = [s for s in found if key.sees_region(None if s.name == NONE else s.name)]
    small = too_small(cursor, by, here, factor_set, own, k)[0] if hides else set()
    references = _References(cursor, by, factor_set, own)
    losses = received(cursor, here) if here.to_ns > here.from_ns else {}
    site = _sites(cursor) if by == "warehouse" else {}
    figures = []
    for s in found:
        if (s.tenant, s.name) in small or (hides and s.vehicles < k):
            figures.append(hidden(by, s.tenant, s.name))
            continue
        loss = loss_of(s, losses)
        stand, figure_id = stands(
            s, by, period, factor_set, now_ns=now, newest=newest, loss=loss, rules=rules, archive=archive
        )
        baseline, target = references.of(s.tenant, s.name)
        figures.append(
            figure(
                by,
                s,
                period,
                now_ns=now,
                loss=loss,
                stands=stand,
                baseline=baseline,
                target=target,
                benchmark=references.benchmark(s.name),
                figure_id=figure_id,
                site=hub(s, here, site[s.name]) if s.name in site else None,
            )
        )
    return Progress(
        from_=iso(period.from_ns),
        to=iso(period.to_ns),
        by=by,
        factor_set=factor_set,
        boundary=HUB_BOUNDARY if by == "warehouse" else BOUNDARY,
        kernel_versions=versions(found),
        commit=commit_of(newest),
        generated=iso(now),
        k=k if hides else 1,
        figures=tuple(figures),
    )


def _sites(cursor: duckdb.DuckDBPyConnection) -> dict[str, float | None]:
    """warehouse -> floor in m²."""
    return {r["warehouse"]: r["area_m2"] for r in query(cursor, "SELECT warehouse, area_m2 FROM warehouses")}


def versions(found: Iterable[Sums]) -> tuple[int, ...]:
    """Kernel versions behind any of the cells."""
    return tuple(sorted({v for s in found for v in s.kernel_versions}))


def month_name(period: Period) -> str:
    """2026-11 for a calendar month, else both ends."""
    return moment(period.from_ns).strftime("%Y-%m") if period.is_month else f"{iso(period.from_ns)}/{iso(period.to_ns)}"
