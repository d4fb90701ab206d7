"""``python -m tests.bench [NAME ...]``: run the benchmarks, print a table, write build/bench.json."""

import argparse
import importlib
import json
import sys
import time
from pathlib import Path

from tests.bench.result import Result

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def main() -> int:
    """Exit code 0 when every benchmark ran."""
    names = sorted(p.stem.removeprefix("bench_") for p in HERE.glob("bench_*.py"))
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(names)}; default all")
    parser.add_argument("--json", type=Path, default=ROOT / "build" / "bench.json", help="file for the figures")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(names)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    results: list[Result] = []
    for name in arguments.names or names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        results += importlib.import_module(f"tests.bench.bench_{name}").run()
    width = max(len(r.name) for r in results)
    for r in results:
        print(f"{r.name:{width}}  {r.value:>14,.4g} {r.unit:<14} {r.compared_with}")
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    figures = {r.name: {"value": r.value, "unit": r.unit, "compared_with": r.compared_with} for r in results}
    stamp = {"made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "python": sys.version.split()[0]}
    arguments.json.write_text(json.dumps({"about": stamp, "figures": figures}, indent=1) + "\n", encoding="utf-8")
    print(f"written to {arguments.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
