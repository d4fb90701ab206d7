"""Faults of processes: killed, paused, restarted empty, flooded, fed with poison, told the wrong time."""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import AsyncIterator

import aiomqtt

from tests.system.fault_ledger import sampled_between
from tests.system.fault_runs import Outcome, Run, judged, scenario
from tests.system.fault_world import TENANT, FaultRunError, Process, World, world


async def _down_for(process: Process, seconds: float) -> None:
    """kill -9, and nobody starts it again for ``seconds``."""
    process.keep = False
    process.kill()
    await asyncio.sleep(seconds)
    process.keep = True


async def _kills(run: Run, w: World, victims: list[Process], low_s: float, high_s: float) -> int:
    """kill -9 one of ``victims`` after another at random until the time is over; how many were hit."""
    end, n = time.monotonic() + run.seconds, 0
    while time.monotonic() < end or n < 2:
        await asyncio.sleep(w.rng.uniform(low_s, high_s))
        await _down_for(w.rng.choice(victims), w.rng.uniform(0.0, 1.0))
        n += 1
    return n


@scenario("broker killed", "kill -9 every 1 to 5 s, back within 1.2 s with the queue it had saved (shipped settings)")
async def broker_killed(run: Run) -> Outcome:
    async with world(run.folder, run.seed, persistent=True) as w:
        n = await _kills(run, w, [w.broker], 1, 5)
        return await judged(run, w, faults=n, restarted=[w.broker])


@scenario("broker restarted empty", "kill -9 every 1 to 5 s; mosquitto without persistence forgets sessions and queues")
async def broker_empty(run: Run) -> Outcome:
    async with world(run.folder, run.seed) as w:
        n = await _kills(run, w, [w.broker], 1, 5)
        return await judged(run, w, faults=n, restarted=[w.broker])


@scenario("MQTT 3.1.1 broker restarted empty", "the embedded amqtt, kill -9 every 3 to 7 s", seconds=12)
async def broker_old(run: Run) -> Outcome:
    async with world(run.folder, run.seed, embedded=True, gateways=4, hz=10) as w:
        n = await _kills(run, w, [w.broker], 3, 7)
        return await judged(run, w, faults=n, restarted=[w.broker])


@scenario("consumer killed", "kill -9 every 1 to 8 s, at any moment of its start, work and commit", seconds=25)
async def consumer_killed(run: Run) -> Outcome:
    async with world(run.folder, run.seed) as w:
        n = await _kills(run, w, [w.server], 1, 8)
        return await judged(run, w, faults=n, restarted=[w.server])


@scenario("gateways killed", "kill -9 of two processes with six gateways each, every 1 to 5 s; a new boot each time")
async def gateways_killed(run: Run) -> Outcome:
    async with world(run.folder, run.seed, processes=2) as w:
        n = await _kills(run, w, w.gateways, 1, 5)
        return await judged(run, w, faults=n, restarted=w.gateways)


@scenario("broker, consumer and gateways killed", "kill -9 of any of them every 0.5 to 4 s", seconds=30)
async def all_killed(run: Run) -> Outcome:
    async with world(run.folder, run.seed, processes=2) as w:
        n = await _kills(run, w, w.processes, 0.5, 4)
        return await judged(run, w, faults=n, restarted=w.processes)


@scenario("slow consumer", "SIGSTOP, then SIGCONT; the broker's queue and the gateways' disks take it up", seconds=20)
async def consumer_paused(run: Run) -> Outcome:
    async with world(run.folder, run.seed) as w:
        before = w.server.peak_mib
        w.server.signal(signal.SIGSTOP)
        await asyncio.sleep(run.seconds)
        resumed = time.time_ns()
        w.server.signal(signal.SIGCONT)
        out = await judged(run, w, faults=1, starts_ns=[resumed])
        out.figures |= {"paused_s": run.seconds, "rss_before_mib": round(before)}
        return out


@contextlib.asynccontextmanager
async def _client(w: World, name: str) -> AsyncIterator[aiomqtt.Client]:
    async with aiomqtt.Client("127.0.0.1", w.port, identifier=name, protocol=aiomqtt.ProtocolVersion.V5) as client:
        yield client


@contextlib.asynccontextmanager
async def _ear(w: World) -> AsyncIterator[list[tuple[str, bytes]]]:
    """What gateways send while the block runs: topic and frame; the list grows."""
    heard: list[tuple[str, bytes]] = []

    async def listen(client: aiomqtt.Client) -> None:
        async for message in client.messages:
            if message.payload:  # it hears its own poison too
                heard.append((str(message.topic), bytes(message.payload)))  # noqa: PERF401  it is read while it grows

    async with _client(w, "ear") as client:
        await client.subscribe(f"fleet/v1/{TENANT}/+/up/readings", qos=1)
        listening = asyncio.create_task(listen(client))
        try:
            yield heard
        finally:
            listening.cancel()
            (ended,) = await asyncio.gather(listening, return_exceptions=True)
            if isinstance(ended, Exception):
                raise ended


@scenario(
    "poison in between", "garbage, torn, flipped and foreign frames from a hostile client, 100 a second", timing=False
)
async def poison(run: Run) -> Outcome:
    async with world(run.folder, run.seed) as w:
        async with _client(w, "poison") as client, _ear(w) as heard:
            end, n = time.monotonic() + run.seconds, 0
            while time.monotonic() < end:
                await asyncio.sleep(0.01)
                if heard:
                    await client.publish(*_poisoned(w.rng, heard), qos=1)
                    n += 1
        out = await judged(run, w, faults=n)
        refused = sum(v for k, v in w.peaks.items() if k.startswith("fleetco2_rejected_total"))
        out.figures |= {"sent": n, "refused": refused}
        if not 0 < refused <= n:
            out.failed += f"; {refused:g} of {n} poisoned messages were refused"
        return out


def _poisoned(rng: random.Random, heard: list[tuple[str, bytes]]) -> tuple[str, bytes]:
    where, frame = rng.choice(heard[-200:])
    other = f"fleet/v1/{TENANT}/gw-{rng.randrange(12):03d}/up/readings"
    at = rng.randrange(len(frame))
    return rng.choice(
        [
            (where, rng.randbytes(rng.randrange(300))),
            (where, frame[:at]),
            (where, frame[:at] + bytes([frame[at] ^ 1 << rng.randrange(8)]) + frame[at + 1 :]),
            (where.replace("readings", "json"), frame),
            (where.replace("readings", "gone"), b'{"boot_id":7,"begin":0,"end":1000}'),
            (other if other != where else where + "x", frame),
            (f"fleet/v1/{TENANT}/nobody/up/readings", frame),
            (where.replace(TENANT, "globex"), frame),
        ]
    )


@scenario(
    "batches again and out of order",
    "every captured batch sent three times more, shuffled, while new ones come",
    timing=False,
)
async def replayed(run: Run) -> Outcome:
    async with world(run.folder, run.seed) as w:
        end, n = time.monotonic() + run.seconds, 0
        before: list[tuple[str, bytes]] = []
        while time.monotonic() < end:
            async with _ear(w) as heard:
                await asyncio.sleep(1)
            before += heard
            again = before * 3
            w.rng.shuffle(again)
            async with _client(w, "again") as client:
                for where, frame in again[:400]:
                    await client.publish(where, frame, qos=1)
                    n += 1
        out = await judged(run, w, faults=n)
        out.figures |= {"sent_again": n, "dropped": w.peaks.get("fleetco2_readings_duplicate_total", 0)}
        return out


@scenario(
    "200 gateways reconnect at once",
    "kill -9 of the broker under 200 gateways, each with 30 s to come back",
    seconds=10,
)
async def reconnect(run: Run) -> Outcome:
    async with world(run.folder, run.seed, gateways=200, processes=2, hz=1, outbox_mib=4) as w:
        await w.until(lambda: w.said("connected") == 200, "200 connections", 60)
        back = []
        rounds = max(1, round(run.seconds / 10))
        for _ in range(rounds):
            await _down_for(w.broker, 2.0)
            await w.until(lambda: w.said("connected") < 20, "the loss of the broker", 20)
            begun = time.monotonic()
            await w.until(lambda: w.said("connected") == 200, "200 connections", 90)
            back.append(time.monotonic() - begun)
        out = await judged(run, w, faults=rounds, restarted=[w.broker])
        out.figures |= {"gateways": 200, "all_back_s": round(max(back), 1)}
        return out


@scenario(
    "clock jumps",
    "every 15th reading is dated 10 years ahead, 16 years back or 1,024 weeks ahead; consumer killed too",
    timing=False,
)
async def clock_jumps(run: Run) -> Outcome:
    async with world(run.folder, run.seed, jump_every=15) as w:
        n = await _kills(run, w, [w.server], 3, 8)
        out = await judged(run, w, faults=n)
        if not out.kept:
            out.failed += "; no reading with an impossible time was kept in quarantine"
        return out


OVERLOAD = {"max_messages": 20, "most_readings_per_s": 100}
TENFOLD = {
    "gateways": 20,
    "hz": 60,
    "batch_s": 0.2,
    "batch_max": 20,
    "window": 10,
    "jump_every": 500,
}  # 1,200 readings a second
FLAT_MIB = 100  # first commits load code and make buffers; a minute of what comes would be as much again in arrays
WANTED_METRICS = (
    "fleetco2_readings_received_total",
    "fleetco2_readings_stored_total",
    "fleetco2_readings_duplicate_total",
    "fleetco2_rejected_total",
    "fleetco2_values_quarantined_total",
    "fleetco2_holes_open",
    "fleetco2_readings_lost_total",
    "fleetco2_backlog_age_seconds",
    "fleetco2_commit_seconds",
    "fleetco2_receive_to_commit_seconds",
    "fleetco2_reading_to_commit_seconds",
    "fleetco2_queue_messages",
)


@scenario(
    "ten times the load",
    "the consumer may take 100 readings a second by its configuration; ten times as many and more come; then the limit is lifted",
    seconds=60,
)
async def overload(run: Run) -> Outcome:
    async with world(run.folder, run.seed, fleet={"commit": OVERLOAD}, **TENFOLD) as w:  # type: ignore[arg-type]
        async with _client(w, "bad") as client:
            await client.publish(f"fleet/v1/{TENANT}/gw-000/up/readings", b"no frame", qos=1)
        steady = w.server.peak_mib
        stored, begun, begun_ns = await _stored(w), time.monotonic(), time.time_ns()
        age = 0.0
        while time.monotonic() < begun + run.seconds:
            await asyncio.sleep(1)
            age = max(age, (await w.metrics()).get("fleetco2_backlog_age_seconds", 0))
        taken, came = await _stored(w) - stored, sampled_between(w.ledger, begun_ns, time.time_ns())
        over_mib = w.server.peak_mib
        await _lift_limit(w)
        out = await judged(run, w, faults=1, starts_ns=[time.time_ns()])
        out.figures |= {
            "came_per_taken": round(came / max(taken, 1), 1),
            "backlog_age_s": round(age, 1),
            "steady_mib": round(steady),
            "overload_mib": round(over_mib),
        }
        if missing := [n for n in WANTED_METRICS if not any(have.startswith(n) for have in w.metric_names)]:
            out.failed += f"; not among the metrics: {missing}"
        if came < 10 * taken:
            out.failed += f"; {taken:g} of {came:g} were taken: not ten times the load"
        if over_mib > steady + FLAT_MIB:
            out.failed += f"; the consumer grew from {steady:.0f} to {over_mib:.0f} MiB"
        return out


async def _lift_limit(w: World) -> None:
    """As an operator would: change the configuration, end the consumer, and have its supervisor start it again."""
    config = w.folder / "fleet.toml"
    config.write_text(config.read_text().replace("most_readings_per_s = 100\n", "").replace("max_messages = 20\n", ""))
    started = len(w.server.started_ns)
    w.server.signal(signal.SIGTERM)
    await w.until(lambda: len(w.server.started_ns) > started, "the consumer without its limit", 60)


async def _stored(w: World) -> float:
    for _ in range(30):
        if (found := (await w.metrics()).get("fleetco2_readings_stored_total")) is not None:
            return found
    raise FaultRunError("the consumer does not answer")


def is_root() -> bool:
    """Whether this process may mount and make namespaces."""
    return os.geteuid() == 0
