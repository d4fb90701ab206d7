"""The part of OData's ``$filter`` that PACT uses: comparisons joined by ``and``, and ``productIds/any(x:(x eq '...'))``."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

LENGTH_MAX: Final = 2_000
TERMS_MAX: Final = 20

_ANY: Final = re.compile(r"(\w+)/any\(\s*(\w+)\s*:\s*\(?\s*(\w+)\s+(eq)\s+'([^']*)'\s*\)?\s*\)")
_TERM: Final = re.compile(r"([\w/]+)\s+(eq|ne|lt|le|gt|ge)\s+(?:'([^']*)'|([^\s'()]+))")
_COMPARE: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
}
_FIELDS: Final = (
    "created", "updated", "productCategoryCpc", "companyName", "status", "id", "version",
    "pcf/geographyCountry", "pcf/reportingPeriodStart", "pcf/reportingPeriodEnd",
    "pcf/referencePeriodStart", "pcf/referencePeriodEnd", "geographyCountry",
)  # fmt: skip
_LISTS: Final = ("productIds", "companyIds")

Match = Callable[[Mapping[str, Any]], bool]


class FilterError(ValueError):
    """A filter that is malformed, or uses what is not offered (``offered`` False)."""

    def __init__(self, text: str, *, offered: bool) -> None:
        super().__init__(text)
        self.offered = offered


def _value(pf: Mapping[str, Any], path: str) -> Any:
    found: Any = pf
    for part in ("pcf/geographyCountry" if path == "geographyCountry" else path).split("/"):
        if not isinstance(found, Mapping) or part not in found:
            return None
        found = found[part]
    return found


def _term(text: str) -> Match:
    if (m := _ANY.fullmatch(text)) is not None:
        name, bound, used, _, wanted = m.groups()
        if name not in _LISTS:
            raise FilterError(f"{name} cannot be filtered by; lists are {', '.join(_LISTS)}", offered=False)
        if bound != used:
            raise FilterError(f"{text!r}: {used} is not the variable {bound}", offered=True)
        return lambda pf: any(v.lower() == wanted.lower() for v in _value(pf, name) or ())
    if (m := _TERM.fullmatch(text)) is not None:
        path, operator, quoted, bare = m.groups()
        if path not in _FIELDS:
            raise FilterError(f"{path} cannot be filtered by; fields are {', '.join(_FIELDS)}", offered=False)
        wanted = quoted if quoted is not None else bare
        compare = _COMPARE[operator]
        return lambda pf: (found := _value(pf, path)) is not None and compare(str(found), wanted)
    raise FilterError(
        f"{text!r} is no comparison; write for instance: created ge '2026-01-01T00:00:00Z'", offered=False
    )


def parse(text: str) -> Match:
    """The condition that ``text`` states. Raises FilterError."""
    if len(text) > LENGTH_MAX:
        raise FilterError(f"a filter may be {LENGTH_MAX} characters long", offered=True)
    if not text.strip():
        return lambda _: True
    terms = [t.strip() for t in re.split(r"\s+and\s+", text.strip())]
    if len(terms) > TERMS_MAX:
        raise FilterError(f"a filter may have {TERMS_MAX} conditions", offered=True)
    matches = []
    for term in terms:
        inner = term
        while inner.startswith("(") and inner.endswith(")"):
            inner = inner[1:-1].strip()
        matches.append(_term(inner))
    return lambda pf: all(m(pf) for m in matches)
