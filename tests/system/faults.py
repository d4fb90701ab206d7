"""Real processes under faults, judged by a ledger: ``python -m tests.system.faults``; writes RELIABILITY.md."""

import argparse
import asyncio
import datetime
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from tests.support import ROOT
from tests.system import fault_command, fault_disks, fault_kills, fault_network
from tests.system.fault_report import report, summary
from tests.system.fault_runs import SCENARIOS, Outcome, Run, SkippedError

REPORT = ROOT / "tests" / "system" / "RELIABILITY.md"
MODULES = (fault_kills, fault_network, fault_disks, fault_command)  # each enters its scenarios


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


def _round(seed: int, given: argparse.Namespace, end: float, outcomes: list[Outcome]) -> bool:
    """Each chosen scenario once with ``seed``; False when the time is over."""
    for i, name in enumerate(given.only, 1):
        if outcomes and len(outcomes) >= len(given.only) and time.monotonic() > end:
            return False
        print(f"seed {seed}  {i}/{len(given.only)}  {SCENARIOS[name].fault} ... ", end="", flush=True)
        out = asyncio.run(once(name, seed, given.seconds))
        print(summary(out), flush=True)
        outcomes.append(out)
        with given.json.open("ab") as file:
            file.write(msgspec.json.encode(out) + b"\n")
    return time.monotonic() < end


def main() -> int:
    """Exit code 0 if every run was good, 1 if one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.system.faults", description=__doc__)
    parser.add_argument(
        "--minutes", type=float, default=18, help="rounds over all faults until then, one at least (18)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the first round; each further one takes the next (1)")
    parser.add_argument(
        "--only",
        nargs="+",
        default=list(SCENARIOS),
        choices=list(SCENARIOS),
        metavar="FAULT",
        help="some of: " + ", ".join(SCENARIOS),
    )
    parser.add_argument("--seconds", type=float, help="how long faults last in each run; default: as the fault needs")
    parser.add_argument(
        "--json", type=Path, default=Path("build/faults.jsonl"), help="outcomes, a line each (build/faults.jsonl)"
    )
    parser.add_argument("--report", type=Path, default=REPORT, help="the report (tests/system/RELIABILITY.md)")
    parser.add_argument("--vopr", type=Path, help="JSON of python -m tests.system.vopr, for the report")
    parser.add_argument("--add", action="store_true", help="keep the outcomes that are in the file already")
    given = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what is in the background without it
    signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))  # ends as by Ctrl-C
    given.json.parent.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []
    if given.add and given.json.exists():
        outcomes = [msgspec.json.decode(line, type=Outcome) for line in given.json.read_bytes().splitlines()]
    else:
        given.json.unlink(missing_ok=True)
    before = len(outcomes)
    end, seed = time.monotonic() + 60 * given.minutes, given.seed
    mine: list[Outcome] = []
    try:
        while _round(seed, given, end, mine):
            seed += 1
    except KeyboardInterrupt:
        print("\nended; the report is of what was run")
    outcomes += mine
    if not mine:
        return 1
    simulated = msgspec.json.decode(given.vopr.read_bytes()) if given.vopr else None
    text = report(
        outcomes, command="make faults", today=datetime.datetime.now(datetime.UTC).date(), simulated=simulated
    )
    given.report.write_text(text, encoding="utf-8")
    failed = sum(bool(o.failed) for o in mine)
    print(f"{len(outcomes) - before} runs, {failed} failed; report: {given.report}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
