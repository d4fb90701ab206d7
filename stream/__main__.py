"""``python -m stream``: the packaged factor sets and the generated tables of ``stream/README.md``, in print."""

import argparse
import signal
import sys
from importlib import resources

from stream import column_table, factor_report, nomenclature
from stream.factors import FactorError, FactorSet, near, parse_factors

_EXAMPLES = """examples:
  python -m stream factors list                                   the sets: size, hash, GWP sets, vintages, fuels
  python -m stream factors list fleetco2-2026.1                   every factor of one set
  python -m stream factors show diesel_avg                        an item in every set, with source and licence
  python -m stream factors show cn-shanxi/generation --set fleetco2-2025.1
  python -m stream factors show desnz25.diesel_avg.l.wtt          by the id of its source row
  python -m stream factors show diesel_b7                         a blend, mixed by volume
  python -m stream factors compare fleetco2-2025.1 fleetco2-2026.1

A set never changes once it is published: a new vintage is a new file in stream/factor_sets, and a run names the set it
uses (factor_set in fleet.toml)."""


def _ids() -> list[str]:
    folder = resources.files("stream") / "factor_sets"
    return sorted(f.name.removesuffix(".csv") for f in folder.iterdir() if f.name.endswith(".csv"))


def _load(name: str) -> FactorSet:
    if name not in _ids():
        raise FactorError(f"no factor set {name!r}{near(name, _ids())}; packaged are {', '.join(_ids())}")
    file = resources.files("stream") / "factor_sets" / f"{name}.csv"
    return parse_factors(name, file.read_text(encoding="utf-8"))


def _factors(arguments: argparse.Namespace) -> str:
    if arguments.action == "list":
        if arguments.set:
            return factor_report.items_text(_load(arguments.set))
        return factor_report.list_text([_load(name) for name in _ids()])
    if arguments.action == "show":
        return factor_report.show_text(
            [_load(n) for n in ([arguments.set] if arguments.set else _ids())], arguments.item
        )
    return factor_report.compare_text(_load(arguments.old), _load(arguments.new))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m stream", description="What the kernels know, in print.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("columns", help="Markdown tables of the stored columns, for stream/README.md")
    commands.add_parser("nomenclature", help="Markdown table of quantities and parameters, for stream/README.md")
    about = "List the emission factor sets, show one factor with its source, compare two sets."
    factors = commands.add_parser(
        "factors",
        help="emission factors: list sets, show a factor with its source, compare two sets",
        description=about,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = factors.add_subparsers(dest="action", required=True, metavar="list | show | compare")
    lists = actions.add_parser(
        "list",
        help="the packaged sets, or every factor of one",
        description="Print a paragraph for each packaged set, or one line for every factor of the set that is named.",
    )
    lists.add_argument("set", nargs="?", metavar="SET", help="print every factor of this set")
    show = actions.add_parser("show", help="one factor: value, unit, gases, band, source, version, licence")
    show.add_argument(
        "item", metavar="ITEM", help="item (diesel_avg, cn-shanxi), item/parameter, source id, or blend (diesel_b7)"
    )
    show.add_argument("--set", metavar="SET", help="look in this set only; default: in every set")
    compare = actions.add_parser("compare", help="what changed from one set to another, in per cent")
    compare.add_argument("old", metavar="SET_A", help="the set to start from, such as fleetco2-2025.1")
    compare.add_argument("new", metavar="SET_B", help="the set that is compared with it")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Print what was asked for. Exit code 0, or 2 for a set or factor that there is not."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.command == "factors":
            print(_factors(arguments))
        else:
            print(column_table.markdown() if arguments.command == "columns" else nomenclature.markdown())
    except FactorError as e:
        print(f"python -m stream: {e}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `... | head` ends quietly
    sys.exit(main())
