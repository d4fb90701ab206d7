"""Panels, variables and links with this project's defaults: one function per kind of panel.

Every panel has a unit, a description that says what the figure is, and draws unknown as a gap.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    geomap,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common as common_model
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import geomap as geomap_model

from dashboards.grafana.sql import BASES, Query, datasource, raw

GREEN: Final = "green"
RED: Final = "red"
STATE_COLOURS: Final = {  # of load states, everywhere
    "empty": "#E0B400",
    "empty_with_load_units": "#B877D9",
    "partial": "#73BF69",
    "full": "#37872D",
    "unknown": "#8E8E8E",
}
# A basemap of transparent pixels: no tile server is asked, the dashboard works without the internet.
NO_TILES: Final = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNgYGBgAAAABQABh6FO1AAAAABJRU5ErkJggg=="

COLUMNS: Final = 24  # of Grafana's grid
MAX_POINTS: Final = 200  # of a curve of sums: a week is then drawn by the hour, and read from hourly sums
Panel = Any  # a panel builder of the SDK: they share no base class with these methods


def steps(*limits: tuple[float | None, str]) -> dashboard.ThresholdsConfig:
    """Thresholds from (value, colour); the first has no value."""
    return (
        dashboard.ThresholdsConfig()
        .mode(model.ThresholdsMode.ABSOLUTE)
        .steps([model.Threshold(value, colour) for value, colour in limits])
    )


def low_is_bad(limit: float) -> dashboard.ThresholdsConfig:
    """Red below ``limit``."""
    return steps((None, RED), (limit, GREEN))


def high_is_bad(limit: float) -> dashboard.ThresholdsConfig:
    """Red from ``limit`` on."""
    return steps((None, GREEN), (limit, RED))


PLAIN: Final = ((None, "blue"),)


def _dressed(
    panel: Panel,
    title: str,
    doc: str,
    unit: str,
    queries: Sequence[Query],
    size: tuple[int, int],
    thresholds: Any = None,
) -> Panel:
    panel = panel.title(title).description(doc).datasource(datasource()).unit(unit).span(size[0]).height(size[1])
    panel = panel.thresholds(thresholds or steps(*PLAIN)).no_value("unknown")
    for query in queries:
        panel = panel.with_target(query)
    if bucketed := [q for q in queries if "$__interval" in q.raw]:
        if all("FROM readings" in q.raw or "FROM emissions" in q.raw for q in bucketed):
            return panel.interval("1s")
        panel = panel.interval("1m").max_data_points(MAX_POINTS)
    return panel


def number(
    title: str,
    doc: str,
    unit: str,
    query: Query,
    *,
    size: tuple[int, int] = (4, 4),
    thresholds: Any = None,
    decimals: int = 1,
    field: str = "",
) -> Panel:
    """One or a few big numbers; ``field`` picks columns by pattern."""
    panel = _dressed(stat.Panel(), title, doc, unit, [query], size, thresholds).decimals(decimals)
    shown = common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)
    if field:
        shown = shown.fields(field)
    return (
        panel.reduce_options(shown)
        .graph_mode(common_model.BigValueGraphMode.NONE)
        .color_mode(common_model.BigValueColorMode.VALUE if thresholds else common_model.BigValueColorMode.NONE)
    )


def lines(
    title: str,
    doc: str,
    unit: str,
    *queries: Query,
    size: tuple[int, int] = (12, 8),
    stacked: bool = False,
    bars: bool = False,
    thresholds: Any = None,
    low: float | None = 0.0,
) -> Panel:
    """Curves over time; a gap where a value is unknown."""
    panel = _dressed(timeseries.Panel(), title, doc, unit, queries, size, thresholds)
    panel = (
        panel.span_nulls(False)
        .line_width(2)
        .fill_opacity(60 if stacked or bars else 8)
        .show_points(common_model.VisibilityMode.AUTO)
    )
    if bars:
        panel = panel.draw_style(common_model.GraphDrawStyle.BARS)
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(common_model.StackingMode.NORMAL).group("A"))
    if low is not None:
        panel = panel.axis_soft_min(low)
    legend = (
        common.VizLegendOptions()
        .display_mode(common_model.LegendDisplayMode.LIST)
        .placement(common_model.LegendPlacement.BOTTOM)
    )
    tip = common.VizTooltipOptions().mode(common_model.TooltipDisplayMode.MULTI).sort(common_model.SortOrder.DESCENDING)
    return panel.legend(legend.show_legend(True)).tooltip(tip)


def banded(panel: Panel, value: str, low: str, high: str, colour: str = "blue") -> Panel:
    """Draw column ``value`` as a line inside the band from ``low`` to ``high``."""
    edge = [
        model.DynamicConfigValue("custom.lineWidth", 0),
        model.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour}),
        model.DynamicConfigValue("custom.hideFrom", {"legend": True, "tooltip": False, "viz": False}),
    ]
    panel = panel.override_by_name(low, edge)
    panel = panel.override_by_name(
        high,
        [
            *edge,
            model.DynamicConfigValue("custom.fillBelowTo", low),
            model.DynamicConfigValue("custom.fillOpacity", 18),
        ],
    )
    return panel.override_by_name(value, [model.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})])


def coloured(panel: Panel, colours: Mapping[str, str]) -> Panel:
    """Fix the colour of series by name."""
    for name, colour in colours.items():
        panel = panel.override_by_name(
            name, [model.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})]
        )
    return panel


def strip(title: str, doc: str, query: Query, colours: Mapping[str, str], *, size: tuple[int, int] = (24, 6)) -> Panel:
    """States over time, one row per series."""
    mapping = model.ValueMap(
        options={k: model.ValueMappingResult(text=k, color=c, index=i) for i, (k, c) in enumerate(colours.items())}
    )
    panel = _dressed(statetimeline.Panel(), title, doc, "string", [query], size)
    return (
        panel.mappings([mapping])
        .merge_values(True)
        .span_nulls(False)
        .show_value(common_model.VisibilityMode.NEVER)
        .fill_opacity(85)
    )


def rows(
    title: str,
    doc: str,
    query: Query,
    units: Mapping[str, str],
    *,
    size: tuple[int, int] = (24, 8),
    links: Mapping[str, tuple[str, str]] | None = None,
    limits: Mapping[str, Any] | None = None,
) -> Panel:
    """A table. ``units`` by column, ``links``: column -> (title, URL), ``limits``: column -> thresholds that colour it."""
    panel = _dressed(table.Panel(), title, doc, "none", [query], size)
    for name, unit in units.items():
        panel = panel.override_by_name(
            name, [model.DynamicConfigValue("unit", unit), model.DynamicConfigValue("decimals", 1)]
        )
    for name, (text, url) in (links or {}).items():
        panel = panel.override_by_name(name, [model.DynamicConfigValue("links", [{"title": text, "url": url}])])
    for name, thresholds in (limits or {}).items():
        panel = panel.override_by_name(
            name,
            [
                model.DynamicConfigValue("thresholds", thresholds.build()),
                model.DynamicConfigValue("custom.cellOptions", {"type": "color-text"}),
            ],
        )
    return panel


def shares(
    title: str, doc: str, unit: str, query: Query, *, size: tuple[int, int] = (8, 8), thresholds: Any = None
) -> Panel:
    """Horizontal bars, one per row: a text column, then a value."""
    panel = _dressed(bargauge.Panel(), title, doc, unit, [query], size, thresholds)
    shown = common.ReduceDataOptions().values(True).calcs([])
    return (
        panel.reduce_options(shown)
        .orientation(common_model.VizOrientation.HORIZONTAL)
        .display_mode(common_model.BarGaugeDisplayMode.BASIC)
    )


def places(
    title: str,
    doc: str,
    unit: str,
    vehicles: Query,
    sites: Query | None,
    field: str,
    thresholds: Any,
    *,
    size: tuple[int, int] = (12, 12),
) -> Panel:
    """A map without tiles: markers coloured by ``field``, warehouses as squares, routes of points where the query gives them."""
    here = {"mode": "coords", "latitude": "lat_deg", "longitude": "lon_deg"}
    layers = [
        _markers("vehicles", "A", here, {"field": field, "fixed": GREEN}, 6, "img/icons/marker/circle.svg", field)
    ]
    queries = [vehicles]
    if sites is not None:
        layers.append(_markers("warehouses", "B", here, {"fixed": "#5794F2"}, 9, "img/icons/marker/square.svg", ""))
        queries.append(sites)
    panel = _dressed(geomap.Panel(), title, doc, unit, queries, size, thresholds)
    basemap = common.MapLayerOptions().type("xyz").name("no tiles").config({"url": NO_TILES, "attribution": ""})
    view = geomap.MapViewConfig().id("fit").all_layers(True).padding(15).max_zoom(12)
    controls = geomap.ControlsOptions().show_zoom(True).mouse_wheel_zoom(True).show_scale(True).show_attribution(False)
    tip = geomap.TooltipOptions().mode(geomap_model.TooltipMode.DETAILS)
    return (
        panel.basemap(basemap)
        .layers(layers)
        .view(view)
        .controls(controls)
        .tooltip(tip)
        .color_scheme(dashboard.FieldColor().mode(model.FieldColorModeId.THRESHOLDS))
    )


def _markers(
    name: str, ref: str, here: dict[str, str], colour: dict[str, str], size: int, symbol: str, text: str
) -> Any:
    style: dict[str, Any] = {
        "color": colour,
        "opacity": 0.85,
        "size": {"fixed": size, "min": 4, "max": 14},
        "symbol": {"fixed": symbol, "mode": "fixed"},
        "rotation": {"fixed": 0, "mode": "fixed", "min": -360, "max": 360},
    }
    location = (
        common.FrameGeometrySource()
        .mode(common_model.FrameGeometrySourceMode.COORDS)
        .latitude(here["latitude"])
        .longitude(here["longitude"])
    )
    return (
        common.MapLayerOptions()
        .type("markers")
        .name(name)
        .config({"style": style, "showLegend": bool(text)})
        .location(location)
        .filter_data({"id": "byRefId", "options": ref})
        .tooltip(True)
    )


def choice(name: str, label: str, sql: str, *, multi: bool = True) -> dashboard.QueryVariable:
    """A variable whose values come from SQL."""
    variable = (
        dashboard.QueryVariable(name)
        .label(label)
        .query(raw(sql).raw)
        .datasource(datasource())
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(multi)
    )
    return variable.include_all(True) if multi else variable


def basis() -> dashboard.CustomVariable:
    """CO2e or CO2, well-to-wheel or tank-to-wheel."""
    return (
        dashboard.CustomVariable("basis")
        .label("Basis")
        .values(",".join(BASES))
        .current(model.VariableOption(selected=True, text=BASES[0], value=BASES[0]))
    )


def factor_set() -> dashboard.QueryVariable:
    """The factor vintage; the newest one in the lake comes first."""
    return choice("factor_set", "Factors", "SELECT factor_set FROM factor_sets ORDER BY 1 DESC", multi=False).sort(
        model.VariableSort.ALPHABETICAL_DESC
    )


BOARDS: Final = {
    "fleetco2-live": "Fleet live",
    "fleetco2-route": "Route",
    "fleetco2-vehicle": "Vehicle and trip",
    "fleetco2-warehouse": "Warehouse",
    "fleetco2-empty": "Empty running",
    "fleetco2-progress": "Reduction progress",
    "fleetco2-operations": "Operations",
}


def board(
    uid: str, *, refresh: str, start: str, variables: Sequence[Any], panels: Sequence[Panel]
) -> dashboard.Dashboard:
    """A dashboard with this project's frame: UTC, shared crosshair, links to the others that keep time and variables."""
    built = (
        dashboard.Dashboard(f"fleetco2: {BOARDS[uid]}")
        .uid(uid)
        .tags(["fleetco2"])
        .timezone("utc")
        .refresh(refresh)
        .time(start, "now")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .editable()
    )
    for variable in (factor_set(), basis(), *variables):
        built = built.with_variable(variable)
    for other, title in BOARDS.items():
        if other != uid:
            built = built.link(
                dashboard.DashboardLink(title)
                .type(model.DashboardLinkType.LINK)
                .url(f"/d/{other}")
                .keep_time(True)
                .include_vars(True)
            )
    tops = [0] * COLUMNS
    for i, panel in enumerate(panels, start=1):
        size = panel.build().grid_pos
        built = built.with_panel(panel.id(i).grid_pos(_placed(tops, size.w, size.h)))
    return built


def _placed(tops: list[int], w: int, h: int) -> model.GridPos:
    """The highest, then leftmost free place; ``tops`` holds the filled height of each column."""
    y, x = min((max(tops[x : x + w]), x) for x in range(COLUMNS - w + 1))
    tops[x : x + w] = [y + h] * w
    return model.GridPos(x=x, y=y, w=w, h=h)


def link_to(uid: str, variable: str, column: str) -> tuple[str, str]:
    """A cell's link to another dashboard that carries the time and one name."""
    return (
        f"Open {BOARDS[uid].lower()}",
        f"/d/{uid}?var-{variable}=${{__data.fields.{column}}}&${{__url_time_range}}&${{factor_set:queryparam}}&${{basis:queryparam}}",
    )
