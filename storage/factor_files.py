"""The packaged factor sets and the table of vehicle classes: text of files that ship with ``stream``, read by id."""

from importlib import resources
from typing import Final

from stream.factors import ClassTable, FactorError, FactorSet, parse_classes, parse_factors

_SETS: Final = "factor_sets"


def factor_set_ids() -> list[str]:
    """Ids of the packaged factor sets."""
    folder = resources.files("stream") / _SETS
    return sorted(f.name.removesuffix(".csv") for f in folder.iterdir() if f.name.endswith(".csv"))


def factor_set_text(name: str) -> str:
    """CSV text of a packaged factor set. Raises FactorError naming those there are."""
    if name not in factor_set_ids():
        raise FactorError(f"there is no factor set {name!r}; packaged are {', '.join(factor_set_ids())}")
    return (resources.files("stream") / _SETS / f"{name}.csv").read_text(encoding="utf-8")


def factor_set(name: str) -> FactorSet:
    """A packaged factor set. Raises FactorError."""
    return parse_factors(name, factor_set_text(name))


def class_table() -> ClassTable:
    """The packaged vehicle classes."""
    return parse_classes((resources.files("stream") / "vehicle_classes.csv").read_text(encoding="utf-8"))
