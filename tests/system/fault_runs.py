"""One run of a fault: what it gave, how it is judged, and the table of scenarios that ``scenario`` fills."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import msgspec

from tests.system.fault_oracle import compare, received_ns, totals
from tests.system.fault_world import Process, World, commits_ns, recoveries_s, verified

SLACK_S = 1.5  # between the moment a reading is due on the gateway's disk and the end of its sync on a busy machine


class SkippedError(Exception):
    """The machine lacks what this fault needs; the text says what."""


class Outcome(msgspec.Struct, kw_only=True):
    """What one run gave. Readings, unless the name says otherwise; ``failed`` and ``skipped`` say why, blank if not."""

    scenario: str
    seed: int
    faults: int = 0
    seconds: float = 0.0
    sampled: int = 0
    stored: int = 0
    thinned: int = 0
    kept: int = 0
    unsent: int = 0
    oldest_unsent_s: float = 0.0
    lost: int = 0
    duplicated: int = 0
    altered: int = 0
    invented: int = 0
    recovery_s: list[float] = []
    peak_rss_mib: dict[str, float] = {}
    figures: dict[str, float] = {}
    failed: str = ""
    skipped: str = ""


class Run(msgspec.Struct, kw_only=True):
    """What a scenario is given: an empty folder, its dice, and how long faults last at least."""

    scenario: str
    folder: Path
    seed: int
    seconds: float

    @property
    def rng(self) -> Random:
        """New dice; the same for the same seed."""
        return Random(self.seed)


class Scenario(msgspec.Struct, kw_only=True, frozen=True):
    """One row of the report."""

    name: str
    fault: str
    how: str
    run: Callable[[Run], Awaitable[Outcome]]
    seconds: float = 15.0
    timing: bool = True  # recovery is measured


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    fault: str, how: str, *, seconds: float = 15.0, timing: bool = True
) -> Callable[[Callable[[Run], Awaitable[Outcome]]], Callable[[Run], Awaitable[Outcome]]]:
    """Enter a scenario under its function's name."""

    def enter(function: Callable[[Run], Awaitable[Outcome]]) -> Callable[[Run], Awaitable[Outcome]]:
        name = function.__name__
        SCENARIOS[name] = Scenario(name=name, fault=fault, how=how, run=function, seconds=seconds, timing=timing)
        return function

    return enter


async def judged(
    run: Run, world: World, *, faults: int, restarted: list[Process] | None = None, starts_ns: list[int] | None = None
) -> Outcome:
    """Let the world come to rest, then compare. ``restarted``: whose starts begin a recovery; ``starts_ns``: or these moments."""
    drained_s = await world.settle()
    out = Outcome(scenario=run.scenario, seed=run.seed, faults=faults)
    found = await asyncio.to_thread(compare, world.ledger, world.lake, commit_s=world.commit_s + SLACK_S)
    for name in ("sampled", "stored", "thinned", "kept", "unsent", "lost", "duplicated", "altered", "invented"):
        setattr(out, name, getattr(found, name))
    out.oldest_unsent_s = round(found.oldest_unsent_s, 3)
    moments = starts_ns or [at for process in restarted or [] for at in process.started_ns[1:]]
    out.recovery_s = [
        round(s, 3) for s in recoveries_s(sorted(moments), commits_ns(world.lake), received_ns(world.lake))
    ]
    out.peak_rss_mib = {
        "broker": round(world.broker.peak_mib),
        "consumer": round(world.server.peak_mib),
        "gateways": round(sum(g.peak_mib for g in world.gateways)),
    }
    out.figures = {"drained_s": round(drained_s, 1)}
    wrong = [] if found.good else found.examples[:4] or ["see the counts"]
    if found.kept == 0 and (sums := await asyncio.to_thread(totals, world.ledger, world.lake)):
        wrong.append(f"totals: {sums[:300]}")
    if said := await asyncio.to_thread(verified, world.lake):
        wrong.append(f"storage verify: {said}")
    if left := [p.name for p in world.lake.rglob("*.tmp")]:
        wrong.append(f"left behind: {left[:3]}")
    if found.sampled == 0 or faults == 0:
        wrong.append("nothing was sampled, or no fault happened: this run proves nothing")
    out.failed = "; ".join(wrong)
    return out


def needs(*programs: str) -> None:
    """SkippedError naming the first of ``programs`` that is not on this machine."""
    for program in programs:
        if shutil.which(program) is None:
            raise SkippedError(f"{program} is not installed on this machine")
