"""Faults of the network between real processes: through a TCP proxy, and packet loss in a network namespace of its own."""

import asyncio
import contextlib
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from simulators.local_broker import free_port
from tests.support import ROOT
from tests.system.fault_kills import is_root
from tests.system.fault_proxy import FaultProxy
from tests.system.fault_runs import Outcome, Run, SkippedError, judged, needs, scenario
from tests.system.fault_world import World, world

LOSS = 0.3


@contextlib.asynccontextmanager
async def _proxied(run: Run, **settings: Any) -> AsyncIterator[tuple[World, FaultProxy, FaultProxy]]:
    """A world whose gateways and whose consumer reach the broker through a proxy each."""
    port = free_port()
    async with (
        FaultProxy(port, random.Random(run.seed)) as near,
        FaultProxy(port, random.Random(run.seed + 1)) as far,
        world(run.folder, run.seed, port=port, gateway_port=near.port, server_port=far.port, **settings) as w,
    ):
        yield w, near, far


@scenario(
    "latency, one byte at a time",
    "TCP proxy: 50 to 300 ms each way, writes of 1 byte; gateways and consumer",
    timing=False,
)
async def latency(run: Run) -> Outcome:
    async with _proxied(run, gateways=6, hz=10) as (w, near, far):
        for proxy in (near, far):
            proxy.weather.latency_s = (0.05, 0.3)
            proxy.weather.piece = 1
        await asyncio.sleep(run.seconds)
        out = await judged(run, w, faults=1)
        out.figures |= {"passed_kB": round((near.passed + far.passed) / 1000)}
        return out


@scenario("connections reset", "TCP proxy: RST on every connection of gateways or consumer, every 0.5 to 3 s")
async def reset(run: Run) -> Outcome:
    async with _proxied(run) as (w, near, far):
        end, cuts = time.monotonic() + run.seconds, []
        while time.monotonic() < end:
            await asyncio.sleep(w.rng.uniform(0.5, 3))
            w.rng.choice([near, far]).reset()
            cuts.append(time.time_ns())
        return await judged(run, w, faults=len(cuts), starts_ns=cuts)


@scenario(
    "half-open connections",
    "TCP proxy: what stands passes nothing on and is never closed; new ones for 3 s lead nowhere either",
)
async def half_open(run: Run) -> Outcome:
    async with _proxied(run) as (w, near, far):
        healed = []
        for proxies in ((near,), (far,), (near, far)):
            for proxy in proxies:
                proxy.weather.hollow = True
                proxy.strand()
            await asyncio.sleep(3)
            for proxy in proxies:
                proxy.weather.hollow = False
            healed.append(time.time_ns())
            await w.progress("through new connections", 200)
        return await judged(run, w, faults=len(healed), starts_ns=healed)


@scenario(
    "stalled connections", "TCP proxy: nothing moves for 2 to 12 s, then all of it; keep-alive is 5 s", seconds=30
)
async def stall(run: Run) -> Outcome:
    async with _proxied(run) as (w, near, far):
        end, healed = time.monotonic() + run.seconds, []
        while time.monotonic() < end:
            proxy = w.rng.choice([near, far])
            proxy.weather.stalled = True
            await asyncio.sleep(w.rng.uniform(2, 12))
            proxy.weather.stalled = False
            healed.append(time.time_ns())
            await asyncio.sleep(w.rng.uniform(1, 3))
        return await judged(run, w, faults=len(healed), starts_ns=healed)


@scenario(
    "slow link",
    "TCP proxy: 64 to 256 kbit/s for all gateways together, after the broker was away for 20 s",
    seconds=20,
    timing=False,
)
async def slow_link(run: Run) -> Outcome:
    async with _proxied(run, gateways=20, hz=25, batch_max=200) as (w, near, _):
        rate = w.rng.choice([64_000, 128_000, 256_000]) / 8
        near.weather.bytes_per_s = rate
        w.broker.keep = False
        w.broker.kill()
        await asyncio.sleep(run.seconds)
        w.broker.keep = True
        confirmed, begun, passed = w.said("confirmed"), time.monotonic(), near.passed
        await w.until(lambda: w.said("confirmed") > confirmed, "the link again", 60)
        begun, passed = time.monotonic(), near.passed
        await asyncio.sleep(5)
        used = (near.passed - passed) / (time.monotonic() - begun) / rate
        out = await judged(run, w, faults=1)
        out.figures |= {"link_kbit_s": rate * 8 / 1000, "used_share_of_link": round(used, 2)}
        return out


@scenario(
    "30 % packet loss",
    "network namespace, iptables statistic: 30 % of the packets to and from the broker dropped",
    seconds=20,
    timing=False,
)
async def packet_loss(run: Run) -> Outcome:
    needs("unshare", "ip", "iptables")
    if not is_root():
        raise SkippedError("a network namespace needs root")
    port = free_port()
    drop = "iptables -A INPUT -i lo -p tcp --{}port {} -m statistic --mode random --probability {} -j DROP"
    rules = " && ".join(["ip link set lo up", *(drop.format(end, port, LOSS) for end in "ds")])
    inner = [
        sys.executable,
        "-m",
        "tests.system.fault_network",
        str(run.folder),
        str(run.seed),
        str(run.seconds),
        str(port),
    ]
    shell = f'{rules} || exit 77; exec "$@"'
    unshare = shutil.which("unshare")
    assert unshare is not None
    process = await asyncio.create_subprocess_exec(
        unshare, "-n", "sh", "-c", shell, "sh", *inner, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    try:
        told, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    if process.returncode == 77:
        raise SkippedError(f"this machine's kernel has no such rule: {said.decode()[-200:].strip()}")
    if process.returncode != 0:
        raise AssertionError(said.decode()[-600:])
    return msgspec.json.decode(told.splitlines()[-1], type=Outcome)


async def _lossy(run: Run, port: int) -> Outcome:
    """Inside the namespace."""
    async with world(run.folder, run.seed, port=port, gateways=6, hz=20) as w:
        before = _segments()
        await asyncio.sleep(run.seconds)
        sent, again = (a - b for a, b in zip(_segments(), before, strict=True))
        out = await judged(run, w, faults=1)
        out.figures |= {"tcp_segments": sent, "sent_again_share": round(again / max(sent, 1), 2)}
        return out


def _segments() -> tuple[int, int]:
    """TCP segments sent, and sent again, in this network namespace."""
    names, values = [
        line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Tcp:")
    ]
    found = dict(zip(names, values, strict=True))
    return int(found["OutSegs"]), int(found["RetransSegs"])


def _main() -> None:
    folder, seed, seconds, port = sys.argv[1:]
    run = Run(scenario="packet_loss", folder=Path(folder), seed=int(seed), seconds=float(seconds))
    print(msgspec.json.encode(asyncio.run(_lossy(run, int(port)))).decode())


if __name__ == "__main__":
    _main()
