"""What a dashboard of ours must be: checked before it is written, by a test, and by ``python -m dashboards grafana check``."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from dashboards.grafana.macros import MacroError, Window, expand
from dashboards.grafana.sql import DATASOURCE_TYPE, DATASOURCE_UID

GRID_COLUMNS: Final = 24
_TIME: Final = re.compile(
    r"\$__(timeFilter|unixEpochNanoFilter|unixEpochFilter|unixEpochNanoFrom|unixEpochNanoTo|timeFrom)\b"
)
_NOW: Final = re.compile(  # shows now, or has no time
    r"\b\w+_now\b|\bnow(_ns)?\(\)|\bFROM (vehicles|warehouses|routes|factor_sets)\b"
)
_WHOLE: Final = re.compile(r"\d+[sm]")
_VARIABLE: Final = re.compile(r"\$\{(\w+)(?::\w+)?\}|\[\[(\w+)")
_BUILT_IN: Final = frozenset({"__data", "__url_time_range", "__from", "__to", "__interval", "__interval_ms"})
_LINK: Final = re.compile(r"/d/([\w-]+)")


def problems(board: Mapping[str, Any], uids: frozenset[str]) -> Iterator[str]:
    """Each fault in a sentence that names the panel. ``uids``: of all dashboards, for links."""
    title = board.get("title", "?")
    names = {v["name"] for v in board.get("templating", {}).get("list", [])}
    if board.get("uid") not in uids:
        yield f"{title}: uid {board.get('uid')!r} is not listed"
    if board.get("timezone") != "utc":
        yield f"{title}: times must be UTC"
    seen: set[int] = set()
    taken: dict[tuple[int, int], str] = {}
    for panel in board.get("panels", []):
        where = f"{title} / {panel.get('title', '?')}"
        if panel.get("id") in seen or not panel.get("id"):
            yield f"{where}: id {panel.get('id')} is missing or used twice"
        seen.add(panel.get("id"))
        yield from _frame(where, panel, taken)
        yield from _queries(where, panel, names)
    for url in _urls(board):
        target = _LINK.match(url)
        if target and target[1] not in uids:
            yield f"{title}: link to {target[1]!r}, which does not exist"


def _frame(where: str, panel: Mapping[str, Any], taken: dict[tuple[int, int], str]) -> Iterator[str]:
    position = panel.get("gridPos", {})
    x, y, w, h = (position.get(k, 0) for k in ("x", "y", "w", "h"))
    if w < 1 or h < 1 or x + w > GRID_COLUMNS:
        yield f"{where}: does not fit the grid of {GRID_COLUMNS} columns: {position}"
    for cell in ((i, j) for i in range(x, x + w) for j in range(y, y + h)):
        if cell in taken:
            yield f"{where}: lies over {taken[cell]}"
            break
        taken[cell] = where
    defaults = panel.get("fieldConfig", {}).get("defaults", {})
    if not defaults.get("unit"):
        yield f"{where}: no unit"
    if not defaults.get("thresholds", {}).get("steps"):
        yield f"{where}: no thresholds"
    if not panel.get("description"):
        yield f"{where}: no description"


def _queries(where: str, panel: Mapping[str, Any], names: set[str]) -> Iterator[str]:
    if panel.get("datasource") != {"type": DATASOURCE_TYPE, "uid": DATASOURCE_UID}:
        yield f"{where}: data source is {panel.get('datasource')}"
    targets = panel.get("targets", [])
    if not targets:
        yield f"{where}: no query"
    references = [t.get("refId") for t in targets]
    if len(set(references)) != len(references):
        yield f"{where}: two queries share a refId"
    least = str(panel.get("interval", ""))
    if any("$__interval" in t.get("rawSql", "") for t in targets) and not _WHOLE.fullmatch(least):
        yield f"{where}: no least interval of whole seconds or minutes: buckets narrower than the data are drawn as gaps"
    for target in targets:
        sql = target.get("rawSql", "")
        try:
            expand(_VARIABLE.sub("x", sql), Window(0, 10**9), {})
        except MacroError as refusal:
            yield f"{where}: Grafana refuses it: {refusal}"
        if target.get("datasource", {}).get("uid") != DATASOURCE_UID:
            yield f"{where}: a query has another data source"
        if not _TIME.search(sql) and not _NOW.search(sql):
            yield f"{where}: a query does not filter by time"
        for a, b in _VARIABLE.findall(sql):
            if (name := a or b) not in names | _BUILT_IN:
                yield f"{where}: variable {name!r} does not exist"


def _urls(tree: Any) -> Iterator[str]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            if key == "url" and isinstance(value, str):
                yield value
            else:
                yield from _urls(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _urls(value)
