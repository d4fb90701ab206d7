"""Each quantity has one name, one unit and one line in the nomenclature."""

import pytest

from stream.columns import TABLES
from stream.fleet import PARAMS
from stream.nomenclature import SYMBOLS, markdown, quantities, replaced
from tests.support import ROOT


def test_readme_shows_the_nomenclature() -> None:
    text = (ROOT / "stream" / "README.md").read_text(encoding="utf-8")
    assert replaced(text) == text, (
        "stream/README.md is behind; put the output of `python -m stream nomenclature` between its marks"
    )


def test_every_parameter_and_every_quantity_has_a_line() -> None:
    names = [
        line.split(" | ")[1] for line in markdown().splitlines() if line.startswith("| ") and "meaning" not in line
    ]
    with_unit = {c.name for columns in TABLES.values() for c in columns if c.unit}
    assert len(names) == len(with_unit) + len(PARAMS.names or ())
    assert set(names) == with_unit | set(PARAMS.names or ())


def test_symbols_belong_to_quantities() -> None:
    assert set(SYMBOLS) <= set(quantities())


def test_text_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="nomenclature"):
        replaced("# no marks here\n")
