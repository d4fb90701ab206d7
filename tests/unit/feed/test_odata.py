"""Filters of PACT: what they mean, and that strange ones are errors."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.feed.odata import FilterError, parse

PF: dict[str, Any] = {
    "created": "2026-11-01T00:00:00Z",
    "productCategoryCpc": "83117",
    "productIds": ["urn:a:1", "urn:b:2"],
    "pcf": {"geographyCountry": "DE"},
}


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("", True),
        ("created ge '2026-11-01T00:00:00Z'", True),
        ("created gt 2026-11-01T00:00:00Z", False),
        ("productCategoryCpc eq '83117' and pcf/geographyCountry ne 'FR'", True),
        ("(geographyCountry eq 'DE')", True),
        ("productIds/any(x:(x eq 'URN:B:2'))", True),
        ("productIds/any(x:x eq 'urn:c:3')", False),
        ("updated ge '2020-01-01'", False),
    ],
)
def test_filters(text: str, fits: bool) -> None:
    assert parse(text)(PF) is fits


@pytest.mark.parametrize(
    ("text", "offered"),
    [
        ("nothing eq '1'", False),
        ("created", False),
        ("pcf/any(x:(x eq 'a'))", False),
        ("productIds/any(x:(y eq 'a'))", True),
        ("created ge 'a' or created le 'b'", False),
        ("created eq 'x' and " * 30 + "created eq 'x'", True),
        ("x" * 2_001, True),
    ],
)
def test_errors(text: str, offered: bool) -> None:
    with pytest.raises(FilterError) as e:
        parse(text)
    assert e.value.offered is offered


@given(st.text(max_size=200))
def test_any_text_is_a_condition_or_an_error(text: str) -> None:
    try:
        match = parse(text)
    except FilterError:
        return
    assert match(PF) in (True, False)
