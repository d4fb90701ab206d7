"""A filter on ``time`` said once more on the nanoseconds behind it, by which files and row groups are cut.

``time`` is a view's ``make_timestamp(ns // 1000)``, and no statistics exist for that. The added condition holds for exactly the same
rows: for a moment t in whole µs, time >= t is ns >= t, and time <= t is ns < t + 1000 ns.

Where ``time`` is the start of a minute or an hour, a literal between two of them means the one beside it: it is moved there. The same
rows are left, and viewers whose clocks differ by seconds ask the same question, which is answered once.
"""

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

Node = dict[str, Any]
_MIRRORED: Final = {
    "COMPARE_GREATERTHAN": "COMPARE_LESSTHAN",
    "COMPARE_LESSTHAN": "COMPARE_GREATERTHAN",
    "COMPARE_GREATERTHANOREQUALTO": "COMPARE_LESSTHANOREQUALTO",
    "COMPARE_LESSTHANOREQUALTO": "COMPARE_GREATERTHANOREQUALTO",
    "COMPARE_EQUAL": "COMPARE_EQUAL",
}
GRAINS_S: Final = {"minute_ns": 60, "hour_ns": 3_600}
_UTC: Final = re.compile(r"((?:19|20)\d\d-\d\d-\d\dT\d\d:\d\d:\d\d)((?:\.\d{1,6})?)Z")  # as Grafana writes it
_BETWEEN: Final = re.compile(rf"(?<=BETWEEN ')({_UTC.pattern})' AND '({_UTC.pattern})(?=')")
_STILL: Final = frozenset(
    ("now", "to_timestamp", "+", "-", "to_seconds", "to_minutes", "to_hours", "to_days", "date_trunc", "trunc")
)


@dataclass(frozen=True, slots=True)
class Rounded:
    """A statement whose literals of time are those of whole minutes, how many they are, and what is left of it without them."""

    sql: str
    literals: int
    frame: str


def whole_minutes(sql: str) -> Rounded | None:
    """``sql`` with the bounds of each BETWEEN moved inwards to whole minutes. None where it has none, or moments elsewhere.

    It means the same only if the check moves all of these literals to minutes, or hours, too.
    """
    text, n = _BETWEEN.subn(lambda m: f"{_start_of(m[1], 60, up=True)}' AND '{_start_of(m[4], 60, up=False)}", sql)
    if n == 0 or len(_UTC.findall(sql)) != 2 * n:
        return None
    return Rounded(text, 2 * n, _UTC.sub("", sql))


def with_nanoseconds(select: Node, tables: Sequence[tuple[str, Any]]) -> set[int]:
    """Add conditions to the WHERE of a checked SELECT. ``tables``: (alias, Relation) of its FROM.

    Returns where in the text the literals stand that mean the start of a minute or an hour now.
    """
    moved: set[int] = set()
    by_alias = {alias.lower(): relation for alias, relation in tables if relation.nanoseconds}
    if not by_alias or select.get("where_clause") is None:
        return moved
    with_time = [alias for alias, relation in tables if "time" in relation.columns]
    only = with_time[0].lower() if len(with_time) == 1 else ""
    added: list[Node] = []
    for condition in _conjuncts(select["where_clause"]):
        for column, kind, moment in _bounds(condition):
            alias = column[0].lower() if len(column) == 2 else only
            if alias in by_alias and column[-1].lower() == "time" and _still(moment):
                if _snap(moment, kind, GRAINS_S.get(by_alias[alias].nanoseconds, 0)):
                    moved.add(int(moment["query_location"]))
                added += _same_in_ns([*column[:-1], by_alias[alias].nanoseconds], kind, moment)
                added += _same_in_days([*column[:-1], "day"], kind, moment) if by_alias[alias].by_day else []
    if added:
        select["where_clause"] = {
            "class": "CONJUNCTION",
            "type": "CONJUNCTION_AND",
            "alias": "",
            "query_location": 0,
            "query_location_length": 0,
            "children": [select["where_clause"], *added],
        }
    return moved


def _conjuncts(node: Node) -> list[Node]:
    if node.get("type") == "CONJUNCTION_AND":
        return [c for child in node["children"] for c in _conjuncts(child)]
    return [node]


def _bounds(node: Node) -> list[tuple[list[str], str, Node]]:
    """(column, comparison, moment) that a condition says of a column."""
    if node.get("class") == "BETWEEN" and node["input"].get("class") == "COLUMN_REF":
        column = node["input"]["column_names"]
        return [
            (column, "COMPARE_GREATERTHANOREQUALTO", node["lower"]),
            (column, "COMPARE_LESSTHANOREQUALTO", node["upper"]),
        ]
    if node.get("class") == "COMPARISON" and node["type"] in _MIRRORED:
        if node["left"].get("class") == "COLUMN_REF":
            return [(node["left"]["column_names"], node["type"], node["right"])]
        if node["right"].get("class") == "COLUMN_REF":
            return [(node["right"]["column_names"], _MIRRORED[node["type"]], node["left"])]
    return []


def _still(node: Node) -> bool:
    """Whether a value is the same for every row: literals, parameters, and the clock with some arithmetic."""
    match node.get("class"):
        case "CONSTANT" | "PARAMETER":
            return True
        case "CAST":
            return _still(node["child"])
        case "FUNCTION":
            return node["function_name"] in _STILL and all(_still(a["expression"]) for a in node["arguments"])
    return False


def _snap(moment: Node, kind: str, grain_s: int) -> bool:
    """Move a literal to the start of a minute or hour that leaves the same rows. Equality is left alone: False then."""
    literal = moment.get("literal", {})
    text = str(literal.get("text", ""))
    if not grain_s or literal.get("kind") != "STRING" or not _UTC.fullmatch(text) or kind == "COMPARE_EQUAL":
        return False
    there = _start_of(text, grain_s, up=kind in ("COMPARE_GREATERTHANOREQUALTO", "COMPARE_LESSTHAN"))
    moment["literal"] = {"kind": "STRING", "text": there}
    return True


def _start_of(text: str, grain_s: int, *, up: bool) -> str:
    """The start of the minute or hour of a moment, or of the next one; a moment that does not exist stays as it is."""
    found = _UTC.fullmatch(text)
    try:
        seconds = int(datetime.datetime.fromisoformat(f"{found[1]}+00:00").timestamp()) if found else 0
        start = seconds // grain_s * grain_s
        exact = found is None or (start == seconds and not found[2].strip(".0"))
        there = datetime.datetime.fromtimestamp(start + grain_s * (up and not exact), datetime.UTC)
    except (ValueError, OverflowError):
        return text  # no such moment: DuckDB says so
    return there.strftime("%Y-%m-%dT%H:%M:%SZ")


_PLACE: Final = {"alias": "", "query_location": 0, "query_location_length": 0}


def _macro_of(macro: str, moment: Node) -> Node:
    return {
        "class": "FUNCTION", "type": "FUNCTION", **_PLACE, "function_name": macro, "schema": "", "filter": None,
        "order_bys": {"type": "ORDER_MODIFIER", "orders": []}, "distinct": False, "is_operator": False,
        "export_state": False, "catalog": "", "arguments": [{"name": "", "expression": moment}],
        "qualified_name": {"path": [macro]},
    }  # fmt: skip


def _compare(column: list[str], how: str, right: Node) -> Node:
    left = {"class": "COLUMN_REF", "type": "COLUMN_REF", **_PLACE, "column_names": column}
    return {"class": "COMPARISON", "type": how, **_PLACE, "left": left, "right": right}


def _same_in_ns(column: list[str], kind: str, moment: Node) -> list[Node]:
    from_here = _compare(column, "COMPARE_GREATERTHANOREQUALTO", _macro_of(FIRST_NS, moment))
    to_here = _compare(column, "COMPARE_LESSTHANOREQUALTO", _macro_of(LAST_NS, moment))
    match kind:
        case "COMPARE_GREATERTHANOREQUALTO":
            return [from_here]
        case "COMPARE_GREATERTHAN":
            return [_compare(column, "COMPARE_GREATERTHAN", _macro_of(LAST_NS, moment))]
        case "COMPARE_LESSTHANOREQUALTO":
            return [to_here]
        case "COMPARE_LESSTHAN":
            return [_compare(column, "COMPARE_LESSTHAN", _macro_of(FIRST_NS, moment))]
    return [from_here, to_here]


def _same_in_days(column: list[str], kind: str, moment: Node) -> list[Node]:
    """Looser than the moment, never tighter: its whole day."""
    bounds = []
    if kind != "COMPARE_LESSTHANOREQUALTO" and kind != "COMPARE_LESSTHAN":
        bounds.append("COMPARE_GREATERTHANOREQUALTO")
    if kind != "COMPARE_GREATERTHANOREQUALTO" and kind != "COMPARE_GREATERTHAN":
        bounds.append("COMPARE_LESSTHANOREQUALTO")
    return [_compare(column, how, _macro_of(DAY, moment)) for how in bounds]


FIRST_NS: Final = "fleet_first_ns"
LAST_NS: Final = "fleet_last_ns"
DAY: Final = "fleet_day"
_EARLY, _LATE = "TIMESTAMP '1677-12-31'", "TIMESTAMP '2262-01-01'"  # an int64 holds the ns of what lies between


def _macro(name: str, beyond: int) -> str:
    return (
        f"CREATE OR REPLACE MACRO {name}(x) AS CASE WHEN CAST(x AS TIMESTAMP) >= {_LATE} THEN {2**63 - 1}"
        f" WHEN CAST(x AS TIMESTAMP) < {_EARLY} THEN {-(2**63)} ELSE epoch_ns(CAST(x AS TIMESTAMP)) + {beyond} END"
    )


MACROS: Final = (
    _macro(FIRST_NS, 0),
    _macro(LAST_NS, 999),
    f"CREATE OR REPLACE MACRO {DAY}(x) AS CAST(CAST(x AS TIMESTAMP) AS DATE)",
)
