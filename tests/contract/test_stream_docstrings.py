"""Public functions of stream/ outside the physics say what they take and give back, with units; the physics has its nomenclature."""

import ast
import re
from pathlib import Path

import pytest

from stream.columns import READING

STREAM = Path(__file__).resolve().parents[2] / "stream"
PHYSICS = (  # symbols and equations of these are held against stream/README.md by test_nomenclature and test_equations
    "advance",
    "attribution",
    "conditions",
    "counters",
    "emissions",
    "fuel",
    "grade",
    "kernel",
    "learning",
    "pipeline",
    "records",
    "result_rows",
    "road_load",
    "state",
    "uncertainty",
)
SIGNALS = {c.name for c in READING}  # their units stand in stream/columns.py
UNIT = re.compile(
    r"(^|_)(kg|kgm|g|ug|nl|l|uwh|kwh|m|m2|mm|km|ms|ms2|kmh|s|us|ns|h|kw|w|n|nm|j|mg2|rpm|pct|deg|c|kpa|pa|lph|rel|share)$|_per_"
)
TELLS = re.compile(  # what a number is that has no unit
    r"\[[^\]]+\]|UNKNOWN|\bP\(|-1\b|n \+ 1|\b(probability|ratio|share|log|density|relative|index|code|bits?|rows?|number|hash|whether)\b",
    re.IGNORECASE,
)
NUMBERS = {"float", "Floats", "int", "Ints"}


def _functions() -> list[tuple[str, ast.FunctionDef]]:
    return [
        (f"{path.stem}.{node.name}", node)
        for path in sorted(STREAM.glob("*.py"))
        if path.stem not in PHYSICS
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]


def faults(node: ast.FunctionDef) -> list[str]:
    """What a reader of this function's signature and docstring is not told."""
    text = ast.get_docstring(node) or ""
    if not text:
        return ["no docstring"]
    told = []
    for a in (*node.args.args, *node.args.kwonlyargs):
        of_kind = ast.unparse(a.annotation) if a.annotation else ""
        named = UNIT.search(a.arg) or a.arg in SIGNALS or re.search(rf"\b{re.escape(a.arg)}\b", text)
        if of_kind in ("float", "Floats") and not named:
            told.append(f"the unit of {a.arg}")
    gives = re.findall(r"\w+", ast.unparse(node.returns)) if node.returns else []
    if NUMBERS & set(gives) and not (TELLS.search(text) or UNIT.search(node.name)):
        told.append("what the number is that it returns")
    return told


@pytest.mark.parametrize(("name", "node"), _functions(), ids=lambda x: x if isinstance(x, str) else "")
def test_a_public_function_tells_its_units(name: str, node: ast.FunctionDef) -> None:
    assert faults(node) == []


@pytest.mark.parametrize(
    ("code", "missing"),
    [
        ("def f(x: float) -> None:\n    pass", ["no docstring"]),
        ('def f(x: float, v_kmh: float) -> None:\n    """Do."""', ["the unit of x"]),
        ('def f(v_kmh: float) -> float:\n    """Faster."""', ["what the number is that it returns"]),
        ('def f(x: float, v_kmh: float) -> float:\n    """Way [m] after ``x`` laps."""', []),
        ('def way_m(v_kmh: float) -> float:\n    """How far."""', []),
    ],
)
def test_what_is_not_told_is_found(code: str, missing: list[str]) -> None:
    (node,) = ast.parse(code).body
    assert isinstance(node, ast.FunctionDef)
    assert faults(node) == missing
