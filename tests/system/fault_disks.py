"""Faults of disks: kill -9 at each system call of a commit, refused calls, full disks, a compaction that dies."""

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from storage.query import connect
from tests.support import ROOT
from tests.system.fault_kills import is_root
from tests.system.fault_runs import Outcome, Run, SkippedError, judged, needs, scenario
from tests.system.fault_world import Process, World, strace, world

# System calls of a start and the first commits after it, counted by strace -c, and how far the points go. The data files and the
# chain are written and renamed by us (fsync, rename, pwrite64), the log entries by delta-rs (linkat, unlink); sendto is the network.
CONSUMER_CALLS: Final = {
    "fsync": 90,
    "rename": 14,
    "linkat": 10,
    "unlink": 12,
    "pwrite64": 4,
    "write": 40,
    "sendto": 12,
}
GATEWAY_CALLS: Final = {"pwrite64": 24, "fdatasync": 6, "sendto": 10}
COMPACTION_CALLS: Final = {"fsync": 16, "rename": 6, "linkat": 4, "pwrite64": 4}
POINT_S: Final = 15.0  # a call that does not come in so long was not in reach
START_EVERY: Final = 4
BALLOON: Final = "balloon"


def _inject(call: str, what: str) -> tuple[str, ...]:
    path = strace()
    if path is None:
        raise SkippedError("strace is not installed on this machine")
    # without --seccomp-bpf: with it strace 6.1 injects no signal
    return (path, "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:{what}")


def _may_inject() -> None:
    """SkippedError unless this machine lets strace trace and inject."""
    done = subprocess.run([*_inject("getppid", "error=EIO"), "true"], capture_output=True, check=False)
    if done.returncode != 0:
        raise SkippedError(f"strace may not inject here: {done.stderr.decode(errors='replace')[-100:]}")


def _points(calls: Mapping[str, int], rng: random.Random) -> list[tuple[str, int]]:
    """Every point once, the kinds of call in turn so that a short run has some of each."""
    queues = [[(call, n) for n in rng.sample(range(1, top + 1), top)] for call, top in calls.items()]
    rng.shuffle(queues)
    return [queue[i] for i in range(max(calls.values())) for queue in queues if i < len(queue)]


async def _start_with(process: Process, prefix: tuple[str, ...]) -> None:
    """Kill it and have it started again behind ``prefix``."""
    process.keep = False
    process.kill()
    while not process.ended:
        await asyncio.sleep(0.02)
    process.prefix = prefix
    n = len(process.started_ns)
    process.keep = True
    while len(process.started_ns) == n:
        await asyncio.sleep(0.02)


async def _step_over(run: Run, w: World, victim: Process, calls: Mapping[str, int]) -> dict[str, int]:
    """kill -9 at one point after another until the time is over; how often each call was hit.

    Calls are counted from the moment a process is at work, and every fourth time from its start.
    """
    hit = dict.fromkeys(calls, 0)
    end = time.monotonic() + run.seconds
    for i, (call, n) in enumerate(_points(calls, w.rng)):
        if time.monotonic() > end + (0 if sum(hit.values()) >= 2 else run.seconds):
            break
        inject, tracer = _inject(call, f"signal=KILL:when={n}"), None
        if i % START_EVERY == START_EVERY - 1:
            await _start_with(victim, inject)
            victim.prefix = ()
        else:
            await _at_work(w, victim)
            tracer = await asyncio.create_subprocess_exec(*inject, "-p", str(victim.pid), stderr=subprocess.DEVNULL)
        limit, starts = time.monotonic() + POINT_S, len(victim.started_ns)
        try:
            while not victim.ended and len(victim.started_ns) == starts and time.monotonic() < limit:
                await asyncio.sleep(0.05)
        finally:
            if tracer is not None and tracer.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    tracer.send_signal(signal.SIGINT)
                await tracer.wait()
        hit[call] += victim.ended or len(victim.started_ns) > starts
    await _start_with(victim, ())
    return hit


async def _at_work(w: World, victim: Process) -> None:
    """Wait until ``victim`` has committed, or had something confirmed, since it was started."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        await asyncio.sleep(0.05)
        if not victim.pid:
            continue
        if victim is w.server and (await w.metrics()).get("fleetco2_commits_total", 0) > 0:
            return
        if victim is not w.server and victim.said.get("confirmed", 0) > 0:
            return
    raise AssertionError(f"{victim.name} did not get to work within 60 s")


@scenario(
    "consumer killed at each commit point",
    "strace: SIGKILL at the nth fsync, rename, linkat, unlink, pwrite64, write, sendto",
    seconds=90,
)
async def consumer_points(run: Run) -> Outcome:
    _may_inject()
    async with world(run.folder, run.seed, gateways=6) as w:
        hit = await _step_over(run, w, w.server, CONSUMER_CALLS)
        out = await judged(run, w, faults=sum(hit.values()), starts_ns=w.server.started_ns[-1:])
        out.figures |= {f"at_{call}": n for call, n in hit.items()}
        return out


@scenario(
    "gateway killed at each commit point",
    "strace: SIGKILL at the nth pwrite64, fdatasync, sendto",
    seconds=45,
)
async def gateway_points(run: Run) -> Outcome:
    _may_inject()
    async with world(run.folder, run.seed, gateways=2, processes=2, commit_s=0.5, batch_s=0.5) as w:
        hit = await _step_over(run, w, w.gateways[0], GATEWAY_CALLS)
        out = await judged(run, w, faults=sum(hit.values()), starts_ns=w.gateways[0].started_ns[-1:])
        out.figures |= {f"at_{call}": n for call, n in hit.items()}
        return out


@scenario(
    "consumer's disk refuses",
    "strace: EIO or ENOSPC from 20 calls in a row of fsync, rename, linkat, pwrite64 or ftruncate",
    seconds=40,
)
async def consumer_errors(run: Run) -> Outcome:
    _may_inject()
    async with world(run.folder, run.seed, gateways=6) as w:
        end, n, failed, ended = time.monotonic() + run.seconds, 0, 0.0, 0
        calls = {"fsync": 150, "rename": 30, "linkat": 25, "pwrite64": 8, "ftruncate": 8}
        while time.monotonic() < end or n < 2:
            call = w.rng.choice(list(calls))
            first = w.rng.randrange(calls[call] // 3, calls[call])
            error = w.rng.choice(["EIO", "ENOSPC"])
            codes = len(w.server.codes)
            await _start_with(w.server, _inject(call, f"error={error}:when={first}..{first + 20}"))
            limit, before = time.monotonic() + POINT_S, w.said("confirmed")
            most = 0.0
            while time.monotonic() < limit and w.said("confirmed") < before + 600:
                await asyncio.sleep(0.1)
                most = max(most, (await w.metrics()).get("fleetco2_commit_failed_total", 0))
            failed += most
            ended += len(w.server.codes) - codes - 1
            n += 1
        await _start_with(w.server, ())
        out = await judged(run, w, faults=n, starts_ns=w.server.started_ns[-1:])
        out.figures |= {"commits_refused": failed, "ended_in_doubt": ended}
        if failed + ended == 0:
            out.failed += "; no call was refused in a commit"
        return out


@scenario("gateway's disk refuses", "strace: EIO or ENOSPC from 10 calls in a row of pwrite64 or fdatasync", seconds=20)
async def gateway_errors(run: Run) -> Outcome:
    _may_inject()
    async with world(run.folder, run.seed, gateways=2, processes=2, commit_s=0.5, batch_s=0.5) as w:
        end, n = time.monotonic() + run.seconds, 0
        while time.monotonic() < end or n < 2:
            call, first = w.rng.choice(["pwrite64", "fdatasync"]), w.rng.randrange(12, 40)
            what = f"error={w.rng.choice(['EIO', 'ENOSPC'])}:when={first}..{first + 10}"
            await _start_with(w.gateways[0], _inject(call, what))
            await asyncio.sleep(w.rng.uniform(4, 7))
            # ended in good order, because a kill while the disk refuses may take what was not on it
            w.gateways[0].keep = False
            w.gateways[0].end_input()
            await w.until(lambda: w.gateways[0].ended, "the end of the gateway", 60)
            n += 1
        await _start_with(w.gateways[0], ())
        await w.until(lambda: w.gateways[0].said.get("connected", 0) > 0, "the gateway again", 30)
        return await judged(run, w, faults=n, starts_ns=w.gateways[0].started_ns[-1:])


@contextlib.contextmanager
def _small_disk(folder: Path, mib: float) -> Iterator[None]:
    """A file system of ``mib`` MiB at ``folder`` while the block runs."""
    needs("mount", "umount")
    folder.mkdir(parents=True)
    size = f"size={int(mib * 1024)}k"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], capture_output=True, check=False)
    if not is_root() or done.returncode != 0:
        raise SkippedError(f"a small file system cannot be mounted here: {done.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _fill(folder: Path, leave: int) -> None:
    """Leave so many bytes free."""
    with (folder / BALLOON).open("wb") as file, contextlib.suppress(OSError):
        free = os.statvfs(folder)
        os.posix_fallocate(file.fileno(), 0, max(4096, free.f_bavail * free.f_bsize - leave))


@scenario(
    "lake's disk full",
    "tmpfs of 96 MiB filled up to 0 to 200 kB, three times; the consumer is killed while it is full, too",
    seconds=24,
)
async def lake_full(run: Run) -> Outcome:
    lake = run.folder / "lake"
    with _small_disk(lake, 96):
        return await _lake_full(run, lake)


async def _lake_full(run: Run, lake: Path) -> Outcome:
    async with world(run.folder, run.seed) as w:
        healed, failed = [], 0.0
        for i in range(3):
            _fill(lake, w.rng.choice([0, w.rng.randrange(200_000)]))
            await asyncio.sleep(run.seconds / 6)
            failed += (await w.metrics()).get("fleetco2_commit_failed_total", 0)
            if i == 1:
                w.server.kill()
            await asyncio.sleep(run.seconds / 6)
            (lake / BALLOON).unlink()
            healed.append(time.time_ns())
            await w.progress("with room on the disk", 1)
        out = await judged(run, w, faults=3, starts_ns=healed)
        out.figures |= {"commits_refused": failed}
        if not failed:
            out.failed += "; no commit was refused: the disk was not full"
        return out


@scenario(
    "gateways' disk filled by others",
    "tmpfs filled to the last byte while the broker is away and gateways are killed",
    seconds=15,
)
async def outbox_disk_full(run: Run) -> Outcome:
    outbox = run.folder / "outbox"
    with _small_disk(outbox, 40):
        return await _outbox_disk_full(run, outbox)


async def _outbox_disk_full(run: Run, outbox: Path) -> Outcome:
    async with world(run.folder, run.seed, gateways=8, processes=2) as w:
        _fill(outbox, 0)
        w.broker.keep = False
        w.broker.kill()
        await asyncio.sleep(run.seconds / 2)
        w.rng.choice(w.gateways).kill()
        await asyncio.sleep(run.seconds / 2)
        w.broker.keep = True
        await w.until(lambda: w.said("connected") == 8, "the gateways", 60)
        out = await judged(run, w, faults=2, restarted=[w.broker])
        if out.thinned:
            out.failed += f"; {out.thinned} readings were thinned although the outbox was allocated before"
        return out


@scenario(
    "outbox full",
    "one gateway at 800 Hz, an outbox of 2 MiB, the broker away until readings are thinned",
    seconds=40,
    timing=False,
)
async def outbox_full(run: Run) -> Outcome:
    with _small_disk(run.folder / "outbox", 2.5):
        return await _outbox_full(run)


async def _outbox_full(run: Run) -> Outcome:
    async with world(run.folder, run.seed, gateways=1, hz=800, bulky=True) as w:
        w.broker.keep = False
        w.broker.kill()
        await w.until(lambda: w.said("thinned") > 500, "thinning", 8 * run.seconds)
        await asyncio.sleep(2)
        w.broker.keep = True
        out = await judged(run, w, faults=1)
        if not out.thinned:
            out.failed += "; nothing was thinned: the outbox was not full"
        return out


@scenario(
    "compaction killed",
    "strace: SIGKILL at the nth fsync, rename, linkat or pwrite64 of storage compact, beside consumer and a reader",
    seconds=40,
    timing=False,
)
async def compaction_killed(run: Run) -> Outcome:
    _may_inject()
    async with world(run.folder, run.seed) as w:
        end, hit, done, read = time.monotonic() + run.seconds, 0, 0, 0
        seen = 0
        for call, n in _points(COMPACTION_CALLS, w.rng):
            if time.monotonic() > end and hit >= 2:
                break
            command = [
                *_inject(call, f"signal=KILL:when={n}"),
                sys.executable,
                "-m",
                "storage",
                "--lake",
                str(w.lake),
                "compact",
            ]
            process = await asyncio.create_subprocess_exec(
                *command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            try:
                while process.returncode is None:
                    now = await asyncio.to_thread(_count, w.lake)
                    if now < seen:
                        raise AssertionError(f"a reader saw {now} readings after {seen}: half a change")
                    seen, read = now, read + 1
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(process.wait(), 0.2)
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            hit += process.returncode != 0
            done += process.returncode == 0
        out = await judged(run, w, faults=hit)
        out.figures |= {"finished": done, "reads_meanwhile": read}
        return out


def _count(lake: Path) -> int:
    con = connect(lake)
    try:
        return int(con.execute("SELECT count(*) FROM readings").fetchall()[0][0])
    finally:
        con.close()
