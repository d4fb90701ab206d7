"""Decimal strings as iLEAP and PACT want them: exact, without exponent, ``^-?\\d+(\\.\\d+)?$``."""

import re
from decimal import Decimal
from typing import Final

UG_PER_KG: Final = 10**9
DIGITS: Final = 12  # significant digits of a ratio; the data behind it has at most six

_FORM: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def text(value: Decimal) -> str:
    """``value`` without exponent and without trailing zeros; "0" for any zero."""
    if value == 0:
        return "0"
    plain = format(value, "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def scaled(units: int, per: int) -> str:
    """``units / per`` exactly, for ``per`` a power of ten: 3680100000 µg as kg is "3.6801"."""
    return text(Decimal(units).scaleb(-(len(str(per)) - 1)))


def ratio(units: int, by: int) -> Decimal:
    """``units / by`` rounded to ``DIGITS`` digits."""
    return Decimal(f"{Decimal(units) / Decimal(by):.{DIGITS}g}")


def parse(value: str) -> Decimal:
    """The number in ``value``. Raises ValueError for anything that is no decimal string of the standard."""
    if not _FORM.fullmatch(value):
        raise ValueError(f"{value!r} is no decimal number; write digits with a point and no exponent")
    return Decimal(value)
