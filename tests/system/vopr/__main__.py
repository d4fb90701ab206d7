"""``python -m tests.system.vopr``: many seeds, or one again."""

import argparse
import json
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from tests.system.vopr.world import FailedError, Outcome, run_seed

PROMISES = ("lost", "duplicated", "altered", "invented")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.system.vopr", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many")
    parser.add_argument("--first", type=int, help="the first of them; by default a fresh one")
    parser.add_argument("--seed", type=int, help="run this one only")
    parser.add_argument("--hours", type=float, help="virtual hours of each; by default what its dice say")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument(
        "--lake", choices=("model", "real"), default="model", help="a model of commits, or storage.lake in a folder"
    )
    parser.add_argument("--json", type=Path, help="file for the result instead of standard output")
    parser.add_argument("--trace", action="store_true", help="with --seed: print every fault")
    return parser.parse_args()


def _run(seed: int, hours: float | None, real_lake: bool) -> Outcome | tuple[int, str, str]:
    logging.disable(logging.CRITICAL)  # a refused commit is logged each time
    try:
        return run_seed(seed, hours, real_lake=real_lake)
    except FailedError as error:
        return seed, error.what, str(error)


def _progress(outcomes: Iterator[Outcome | tuple[int, str, str]], n: int) -> Iterator[Outcome | tuple[int, str, str]]:
    failed, hours = 0, 0.0
    for done, outcome in enumerate(outcomes, 1):
        failed += not isinstance(outcome, Outcome)
        hours += outcome.hours if isinstance(outcome, Outcome) else 0.0
        print(f"\r{done}/{n} seeds  {hours:,.0f} h  {failed} failed ", end="", file=sys.stderr, flush=True)
        yield outcome
    print(file=sys.stderr)


def summary(first: int, outcomes: list[Outcome | tuple[int, str, str]], cpu_s: float) -> dict[str, Any]:
    """What ``--json`` holds."""
    good = [o for o in outcomes if isinstance(o, Outcome)]
    bad = [o for o in outcomes if not isinstance(o, Outcome)]
    counts = sum((o.counts for o in good), Counter[str]())
    settle = sorted(o.settle_s for o in good) or [0.0]
    names = (
        "stored",
        "merged",
        "reported_gone",
        "spoilt_at_the_end",
        "unsynced",
        "quarantined_time",
        "batches_published",
    )
    return {
        "seeds": len(outcomes),
        "first_seed": first,
        "hours": round(sum(o.hours for o in good), 1),
        "cpu_s": round(cpu_s, 1),
        "readings": sum(o.readings for o in good),
        **{name: counts[name] for name in names},
        **{name: sum(what == name for _, what, _ in bad) for name in PROMISES},
        "settle_s": {
            "p50": round(settle[len(settle) // 2], 1),
            "p99": round(settle[len(settle) * 99 // 100], 1),
            "max": round(settle[-1], 1),
        },
        "faults": dict(sorted(sum((o.faults for o in good), Counter[str]()).items())),
        "failures": [{"seed": seed, "what": text.splitlines()[0]} for seed, _, text in bad],
    }


def main() -> int:
    """Exit code 1 if a seed failed."""
    a = _arguments()
    if a.seed is not None:
        logging.disable(logging.CRITICAL)
        try:
            outcome = run_seed(a.seed, a.hours, real_lake=a.lake == "real", say=print if a.trace else None)
        except FailedError as error:
            print(error)
            return 1
        print(outcome)
        return 0
    first = random.SystemRandom().randrange(2**31) if a.first is None else a.first
    print(f"seeds from {first} on", file=sys.stderr)
    run = partial(_run, hours=a.hours, real_lake=a.lake == "real")
    began = time.process_time()
    seeds = range(first, first + a.seeds)
    if a.jobs == 1:
        outcomes = list(_progress(map(run, seeds), a.seeds))
        cpu_s = time.process_time() - began
    else:
        wall = time.monotonic()
        with ProcessPoolExecutor(a.jobs) as pool:
            outcomes = list(_progress(pool.map(run, seeds), a.seeds))
        cpu_s = (time.monotonic() - wall) * a.jobs
    text = json.dumps(summary(first, outcomes, cpu_s), indent=1)
    if a.json is None:
        print(text)
    else:
        a.json.write_text(text + "\n")
    bad = [o for o in outcomes if not isinstance(o, Outcome)]
    for _, _, told in bad:
        print(told, file=sys.stderr)
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
