"""The gateway's shell: moves samples from sources to the core, and the core's messages to the broker and back.

All rules of delivery are in ``devices.core``; here are tasks, timers and the link.
"""

import asyncio
import logging
import random
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from math import inf
from pathlib import Path
from typing import Final

from devices.config import GatewayConfig
from devices.core import RETRY_MOST_S, STABLE_S, Action, Connect, Drop, Figures, GatewayCore, Publish, Say
from devices.counters import Counters
from devices.source_join import Joiner
from devices.sources import Source
from devices.transport import Link, LinkError, MqttVersion, Will, connect
from devices.wire import Sample

FAREWELL_S: Final = 2.0  # for the broker to take the last word
FAIR_SAMPLES: Final = 64  # after so many from one source the others get their turn, even if it never waits by itself
ROOM_BATCHES: Final = 4  # a source that can wait is held back when so many full batches are unconfirmed
_LOG: Final = logging.getLogger("devices.gateway")


class Gateway:
    """One gateway in the running event loop; 50 fit into one process.

    ``rng`` makes jitter only. ``boot_id`` is random unless given, because two runs with the same one would be taken for
    repeats of each other. ``say`` gets what a person should know; without it a warning is logged.
    """

    def __init__(
        self,
        config: GatewayConfig,
        sources: Sequence[Source],
        *,
        rng: random.Random,
        counters: Counters,
        boot_id: int | None = None,
        password: str | None = None,
        base: Path | None = None,
        software: str = "fleetco2",
        say: Callable[[Say], None] | None = None,
    ) -> None:
        self._config = config
        self._sources = sources
        self._rng = rng
        self._counters = counters
        self._password = password
        self._base = base or Path()
        self._say = say or self._log
        self._core = GatewayCore(
            config,
            boot_id=boot_id or secrets.randbelow(2**63 - 1) + 1,
            rng=rng,
            counters=counters,
            software=software,
            sources=tuple(source.name for source in sources),
        )
        self._joiner = Joiner(sample_s=config.sample_s, hold_s=config.hold_s) if len(sources) > 1 else None
        self._room_rows = min(ROOM_BATCHES * config.batch_max, config.keep_max_readings // 2)
        self._version: MqttVersion = "3.1.1" if config.broker.protocol == "3.1.1" else "5"
        self._falls_back = config.broker.protocol == "auto"  # until the broker has shown that it speaks MQTT 5
        self._link: Link | None = None
        self._connect_in_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._farewell_token = 0
        self._room = asyncio.Event()
        self._empty = asyncio.Event()
        self._gone = asyncio.Event()

    def figures(self) -> Figures:
        """A snapshot, at any time."""
        return self._core.figures()

    async def run(self, stop: asyncio.Event) -> Figures:
        """Deliver until ``stop`` is set, or until all sources have ended and everything is confirmed.

        After ``stop``, confirmations are waited for during ``drain_s``; what is unconfirmed then is in the figures.
        """
        self._do([])
        async with asyncio.TaskGroup() as tasks:
            stopped = tasks.create_task(stop.wait())
            link = tasks.create_task(self._keep_link())
            feeds = [tasks.create_task(self._feed(i, source)) for i, source in enumerate(self._sources)]
            await _first(stopped, tasks.create_task(_all(feeds)))
            for feed in feeds:
                feed.cancel()
            await _all(feeds)
            if self._joiner is not None:
                self._take(self._joiner.flush())
            self._do(self._core.on_stop(self._now()))
            emptied = tasks.create_task(self._empty.wait())
            await _first(stopped, emptied)
            await asyncio.wait([emptied], timeout=self._config.drain_s)
            await self._say_farewell()
            for task in (stopped, emptied, link):
                task.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._core.on_closed()
        return self.figures()

    async def _feed(self, index: int, source: Source) -> None:
        """Samples of one source, which is started again after a fault."""
        can_wait = getattr(source, "can_wait", False)
        taken = failures = 0
        said = ""
        while True:
            begun = self._now()
            samples = source.samples()
            try:
                while (sample := await self._next(samples)) is not None:
                    self._take([sample] if self._joiner is None else self._joiner.on_sample(index, sample))
                    taken += 1
                    if taken % FAIR_SAMPLES == 0:
                        await asyncio.sleep(0)
                    if can_wait:
                        await self._room.wait()
                return
            except _SourceFailedError as error:
                self._counters.add("source_failed", label=source.name)
                if str(error) != said:
                    said = str(error)
                    self._say(Say("source_failed", f"{source.name}: {said}; it is started again until it works"))
            failures = 0 if self._now() - begun >= STABLE_S else failures + 1
            await asyncio.sleep(self._rng.uniform(0.0, min(RETRY_MOST_S, 2.0 ** min(failures, 16))))

    async def _next(self, samples: AsyncIterator[Sample]) -> Sample | None:
        try:
            return await anext(samples, None)
        except Exception as error:  # a source is a plug-in: whatever it raises must not stop the others
            raise _SourceFailedError(f"{type(error).__name__}: {error}") from error

    def _take(self, samples: Iterable[Sample]) -> None:
        for sample in samples:
            self._do(self._core.on_sample(sample, self._now()))

    async def _keep_link(self) -> None:
        self._do(self._core.on_start())
        while True:
            await asyncio.sleep(self._connect_in_s)
            try:
                await self._hold_link(self._version)
            except LinkError as error:
                reason, old_broker = str(error), error.old_broker
            if old_broker and self._falls_back:
                try:
                    await self._hold_link("3.1.1")
                except LinkError as error:
                    reason = str(error)
                if self.figures().connected:  # until it was lost: that broker is one for 3.1.1
                    self._version = "3.1.1"
            self._do(self._core.on_disconnected(reason, self._now()))

    async def _hold_link(self, version: MqttVersion) -> None:
        """Connect and hand over what comes. Always ends in LinkError."""
        broker, core = self._config.broker, self._core
        async with connect(
            broker,
            version,
            client_id=self._config.device,
            password=self._password,
            base=self._base,
            will=Will(core.state_topic, core.state(online=False)),
            subscribe=core.ack_topic,
            on_puback=self._on_puback,
        ) as link:
            self._say(Say("connected", f"{broker.host}:{broker.port} with MQTT {version}"))
            self._link = link
            self._falls_back = self._falls_back and version != "5"
            try:
                self._do(core.on_connected(self._now()))
                async for payload in link.messages():
                    self._do(core.on_ack(payload, self._now()))
            finally:
                self._link = None

    def _on_puback(self, token: int, reason: int) -> None:
        if token == self._farewell_token:
            self._gone.set()
        self._do(self._core.on_puback(token, reason, self._now()))

    async def _say_farewell(self) -> None:
        if self._link is None:
            return
        last = self._core.farewell()
        self._farewell_token = last.token
        self._do([last])
        try:
            await asyncio.wait_for(self._gone.wait(), FAREWELL_S)
        except TimeoutError:
            self._say(Say("farewell_lost", "the broker did not take the offline state; the will stands in for it"))

    def _do(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Publish(token, topic, payload, retain):
                    if self._link is not None:
                        self._link.publish(token, topic, payload, retain=retain)
                case Connect(delay_s):
                    self._connect_in_s = delay_s
                case Drop(reason):
                    if self._link is not None:
                        self._link.cut(reason)
                case Say():
                    self._say(action)
        _set(self._room, len(self._core) < self._room_rows)
        _set(self._empty, len(self._core) == 0)
        self._rearm()

    def _rearm(self) -> None:
        """Have ``_tick`` called when the core wants it; a timer that is too early only makes an idle tick."""
        at = self._core.wake_at()
        if at == inf or (self._timer is not None and self._timer.when() <= at):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(at, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._do(self._core.on_tick(self._now()))

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _log(self, what: Say) -> None:
        level = logging.INFO if what.event == "connected" else logging.WARNING
        _LOG.log(level, "%s device=%s detail=%s", what.event, self._config.device, what.detail)


async def run(
    config: GatewayConfig,
    source: Source | Sequence[Source],
    *,
    rng: random.Random,
    counters: Counters,
    stop: asyncio.Event,
    password: str | None = None,
) -> Figures:
    """One gateway from start to end. Make a ``Gateway`` where the figures are wanted while it runs."""
    sources = source if isinstance(source, Sequence) else (source,)
    return await Gateway(config, sources, rng=rng, counters=counters, password=password).run(stop)


class _SourceFailedError(Exception):
    pass


async def _first(*tasks: asyncio.Task[object]) -> None:
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


async def _all(tasks: Sequence[asyncio.Task[None]]) -> None:
    if tasks:
        await asyncio.wait(tasks)


def _set(event: asyncio.Event, on: bool) -> None:
    if on:
        event.set()
    else:
        event.clear()
