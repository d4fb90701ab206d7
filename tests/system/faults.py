"""Real processes under faults, judged by a ledger: ``python -m tests.system.faults``; writes RELIABILITY.md."""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from tests.system import fault_disks, fault_kills, fault_network
from tests.system.fault_runs import SCENARIOS, Outcome, Run, SkippedError

MODULES = (fault_kills, fault_network, fault_disks)  # each enters its scenarios


async def once(name: str, seed: int, seconds: float | None = None, folder: Path | None = None) -> Outcome:
    """One run of a scenario. A failure is in the outcome; only a mistake of ours raises."""
    entry = SCENARIOS[name]
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults-") as temporary:
        home = folder or Path(temporary)
        run = Run(scenario=name, folder=home / "world", seed=seed, seconds=seconds or entry.seconds)
        try:
            out = await entry.run(run)
        except SkippedError as error:
            out = Outcome(scenario=name, seed=seed, skipped=str(error))
        except AssertionError as error:
            out = Outcome(scenario=name, seed=seed, failed=str(error) or repr(error))
    out.seconds = round(time.monotonic() - begun, 1)
    return out


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.system.faults")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=sorted(SCENARIOS))
    parser.add_argument("--seconds", type=float)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))  # ends as by Ctrl-C
    bad = 0
    for name in given.only:
        out = asyncio.run(once(name, given.seed, given.seconds))
        bad += bool(out.failed)
        print(msgspec.json.encode(out).decode(), flush=True)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
