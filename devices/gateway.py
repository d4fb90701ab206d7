"""The gateway's shell: moves samples from sources to the core, and the core's messages to the broker and back.

All rules of delivery are in ``devices.core``; here are tasks, timers and the link.
"""

import asyncio
import logging
import random
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from math import inf
from pathlib import Path
from typing import Final

from devices.actions import About, Action, Connect, Drop, Figures, Publish, Say, Sync
from devices.broker_client import LinkError, MqttVersion
from devices.clock import Timekeeper
from devices.config import GatewayConfig, SourceConfig, source_configs
from devices.core import RETRY_MOST_S, STABLE_S, GatewayCore
from devices.counters import Counters
from devices.entries import Recovered
from devices.health import Health, SourceHealth
from devices.intake import Intake
from devices.remote_config import Change, RemoteConfig
from devices.ring import Ring
from devices.sources import Source
from devices.transport import Link, Will, connect
from devices.wire import Sample, topic

SETTLE_S: Final = 10.0  # for the disk to take the last readings; a worn card may need seconds
FAREWELL_S: Final = 2.0  # for the broker to take the last word
FAIR_SAMPLES: Final = 64  # after so many from one source the others get their turn, even if it never waits by itself
HANDED_MAX: Final = 4096  # beats, an hour: a disk that takes longer is waited for with the newest of them
BEAT_S: Final = 1.0  # the clock, trials and the watchdog are looked after so often
RECEIVER_ERROR_MS: Final = 1000  # a sentence arrives up to a second after the moment it tells
FORMER_MAX: Final = (
    4  # configurations whose readings still wait for the clock; who changes more often gives up the oldest
)
ROOM_BATCHES: Final = 4  # a source that can wait is held back when so many full batches are unconfirmed
GOOD_NEWS: Final = frozenset(("connected", "clock_known", "source_returned", "config_applied", "config_kept"))
_LOG: Final = logging.getLogger("devices.gateway")


class Gateway:
    """One gateway in the running event loop; 50 fit into one process.

    ``rng`` makes jitter only. ``boot_id`` is random unless given, because two runs with the same one would be taken for
    repeats of each other. ``say`` gets what a person should know; without it a warning is logged. ``clock`` dates readings
    and tells each batch's clock; without it the configuration says what the clock rests on. ``remote`` takes configuration
    from the server, whose sources ``make_source`` makes. ``on_beat`` is called about once a second while all is alive. ``ring``
    is the outbox, with what it ``recovered``; without it, one in memory. A source with a method ``on_durable`` is told the
    monotonic time [s] up to which everything it gave is on the disk.
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
        clock: Timekeeper | None = None,
        remote: RemoteConfig | None = None,
        make_source: Callable[[SourceConfig], Source] | None = None,
        on_beat: Callable[[], object] = lambda: None,
        ring: Ring | None = None,
        recovered: Recovered | None = None,
    ) -> None:
        self._config = config
        self._sources = tuple(sources)
        self._clock = clock
        self._remote = remote
        self._make_source = make_source
        self._on_beat = on_beat
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
            ring=ring,
            recovered=recovered,
        )
        self._disk = None if ring is None else ring.disk
        self._syncs: set[asyncio.Task[None]] = set()
        self._settled = asyncio.Event()
        self._handed: deque[tuple[int, float]] = deque()  # (readings numbered, all given before it is among them)
        self._intake = self._new_intake()
        self._former: list[Intake] = []
        self._config_topic = topic(config.tenant, config.device, "dn/config")
        self._anchors: dict[int, tuple[int, float]] = {}
        self._clock_said = ""
        self._anew = asyncio.Event()
        self._room_rows = ROOM_BATCHES * config.batch_max
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
        if self._remote is not None:
            config, said = self._remote.start(self._now())
            self._do(said)
            if config is not self._config:
                self._apply(config)
        self._do([])
        self._look()
        self._hold_back()
        async with asyncio.TaskGroup() as tasks:
            stopped = tasks.create_task(stop.wait())
            link = tasks.create_task(self._keep_link())
            beat = tasks.create_task(self._beat())
            feeds = tasks.create_task(self._feed_all())
            await _first(stopped, feeds)
            feeds.cancel()
            await _all([feeds])
            self._look()
            self._take(self._intake.flush())
            self._give_up([*self._former, self._intake])
            self._do(self._core.on_stop(self._now()))
            emptied = tasks.create_task(self._empty.wait())
            await _first(stopped, emptied)
            await asyncio.wait([emptied], timeout=self._config.drain_s)
            await self._say_farewell()
            await self._settle()
            for task in (stopped, emptied, link, beat):
                task.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._core.on_closed()
        return self.figures()

    async def _settle(self) -> None:
        """Wait until the disk has what is not confirmed."""
        if self._disk is None or self._disk.volatile:
            return
        try:
            await asyncio.wait_for(self._settled.wait(), SETTLE_S)
        except TimeoutError:
            self._say(Say("outbox_unsettled", "the disk did not take the last readings in time; they end here"))
        if self._syncs:
            await asyncio.wait(self._syncs)

    def health(self) -> Health:
        """What the health page tells."""
        now, figures, core = self._now(), self.figures(), self._core
        state = self._intake.clock_state() or core.clock
        return Health(
            device=figures.device,
            boot_id=figures.boot_id,
            broker=f"{self._config.broker.host}:{self._config.broker.port}",
            connected=figures.connected,
            reconnects=figures.reconnects,
            sent=figures.sent,
            confirmed=figures.confirmed,
            unconfirmed=figures.unconfirmed,
            thinned=figures.thinned,
            outbox_rows=figures.kept_rows,
            outbox_fill=figures.fill,
            outbox="disk" if figures.on_disk else "memory",
            clock=state.source,
            clock_error_ms=state.error_ms,
            undated=self._intake.waiting,
            sources=tuple(
                SourceHealth(
                    name=s.name,
                    samples=s.samples,
                    age_s=None if s.sample_at is None else now - s.sample_at,
                    error=s.error,
                    error_age_s=None if s.error_at is None else now - s.error_at,
                )
                for s in self._intake.sources
            ),
            stuck=self._intake.stuck,
            config=None if self._remote is None else self._remote.applied,
            counters=self._counters.snapshot(),
        )

    async def _feed_all(self) -> None:
        """All sources until they have ended; those of a new configuration from then on."""
        while True:
            self._anew.clear()
            async with asyncio.TaskGroup() as tasks:
                feeds = [tasks.create_task(self._feed(i, source)) for i, source in enumerate(self._sources)]
                anew = tasks.create_task(self._anew.wait())
                await _first(anew, tasks.create_task(_all(feeds)))
                for task in (*feeds, anew):
                    task.cancel()
            if not self._anew.is_set():
                return

    async def _feed(self, index: int, source: Source) -> None:
        """Samples of one source, which is started again after a fault."""
        taken = failures = 0
        said = ""
        while True:
            begun = self._now()
            samples = source.samples()
            try:
                while (sample := await self._next(samples)) is not None:
                    self._offer(index, source)
                    self._take(self._intake.on_sample(index, sample, self._now()))
                    if said:
                        said = ""
                        self._say(Say("source_returned", source.name))
                    taken += 1
                    if taken % FAIR_SAMPLES == 0:
                        await asyncio.sleep(0)
                    if getattr(source, "can_wait", False):
                        await self._room.wait()
                return
            except _SourceFailedError as error:
                self._counters.add("source_failed", label=source.name)
                self._intake.on_fault(index, str(error), self._now())
                self._tell()
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

    async def _beat(self) -> None:
        """What must happen while nothing else does. Runs in the loop of the sources, so it tells that the loop turns."""
        while True:
            for index, source in enumerate(self._sources):
                self._offer(index, source)
            self._look()
            if self._remote is not None:
                change, said = self._remote.on_tick(self._now())
                self._change(change, said)
            self._tell()
            self._hand()
            self._tell_durable()
            if self._core.writable:
                self._on_beat()
            await asyncio.sleep(BEAT_S)

    def _offer(self, index: int, source: Source) -> None:
        """Hand a receiver's time to the clock."""
        anchor: tuple[int, float] | None = getattr(source, "anchor", None)
        if self._clock is None or anchor is None or self._anchors.get(index) == anchor:
            return
        self._anchors[index] = anchor
        offer_time(source, self._clock)

    def _look(self) -> None:
        """Date what can be dated."""
        if self._clock is None:
            return
        self._clock.look()
        if self._clock.known and self._former:
            for intake in self._former:
                self._take([*intake.on_clock(), *intake.flush()])
            self._former.clear()
        self._take(self._intake.on_clock())
        said = "clock_unknown" if not self._clock.known else "clock_known"
        if said != self._clock_said:
            self._clock_said = said
            text = "readings wait until a receiver or the network tells the time"
            self._say(Say(said, text if said == "clock_unknown" else self._clock.state().source))

    def _take(self, samples: Iterable[Sample]) -> None:
        for sample in samples:
            if (state := self._intake.clock_state(sample.time_ns)) is not None:
                self._core.on_clock(state)
            self._do(self._core.on_sample(sample, self._now()))

    def _give_up(self, intakes: Iterable[Intake]) -> None:
        if lost := sum(intake.waiting for intake in intakes):
            self._counters.add("readings_undated_lost", lost)
            self._say(Say("readings_undated_lost", f"{lost} readings end here: their time is not known"))

    def _tell(self) -> None:
        """Keep what ``up/state`` says up to date."""
        intake = self._intake
        about = About(
            sources=tuple(source.name for source in self._sources),
            missing=intake.missing,
            stuck=intake.stuck,
            undated=intake.waiting,
            config=None if self._remote is None else self._remote.applied,
            vin=next((vin for source in self._sources if (vin := getattr(source, "vin", ""))), ""),
        )
        self._do(self._core.on_about(about, self._now()))

    def _change(self, change: Change | None, said: Iterable[Say]) -> None:
        self._do(said)
        if change is not None:
            self._apply(change.config)
        self._tell()

    def _apply(self, config: GatewayConfig) -> None:
        """Use other sources and batches. The outbox and the link do not notice."""
        if self._make_source is None:
            raise TypeError("remote needs make_source")
        self._take(self._intake.flush())
        if self._intake.waiting:
            self._former.append(self._intake)
            self._give_up(self._former[:-FORMER_MAX])
            del self._former[:-FORMER_MAX]
        self._config = config
        self._core.reconfigure(config)
        self._sources = tuple(self._make_source(s) for s in source_configs(config, "dn/config"))
        self._intake = self._new_intake()
        self._anchors.clear()
        self._hold_back()
        self._room_rows = ROOM_BATCHES * config.batch_max
        self._anew.set()

    def _new_intake(self) -> Intake:
        names = [source.name for source in self._sources]
        return Intake(self._config, names, clock=self._clock, counters=self._counters, on_stuck=self._on_stuck)

    def _on_stuck(self, signal: str) -> None:
        self._counters.add("signal_stuck", label=signal)
        self._say(Say("signal_stuck", f"{signal} stands still although others say it must move; look at its sensor"))

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
            will=Will(core.state_topic, core.will()),
            subscribe=(core.ack_topic, core.nack_topic, *(() if self._remote is None else (self._config_topic,))),
            on_puback=self._on_puback,
        ) as link:
            self._say(Say("connected", f"{broker.host}:{broker.port} with MQTT {version}"))
            self._link = link
            self._falls_back = self._falls_back and version != "5"
            try:
                self._do(core.on_connected(self._now()))
                async for where, payload in link.messages():
                    self.on_message(where, payload)
            finally:
                self._link = None

    def on_message(self, where: str, payload: bytes) -> None:
        """A message of the broker, on one of the topics subscribed."""
        if self._remote is not None and where == self._config_topic:
            self._change(*self._remote.on_message(payload, self._now(), self.figures().sent))
            return
        if where == self._core.nack_topic:
            self._do(self._core.on_nack(payload, self._now()))
            return
        self._do(self._core.on_ack(payload, self._now()))
        if self._remote is not None and (said := self._remote.on_confirmed(self.figures().confirmed)):
            self._change(None, said)

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
                case Sync(files):
                    task = asyncio.get_running_loop().create_task(self._sync(files))
                    self._syncs.add(task)
                    task.add_done_callback(self._syncs.discard)
                case Say():
                    self._say(action)
        _set(self._settled, self._core.settled)
        _set(self._room, len(self._core) + self._intake.waiting < self._room_rows)
        _set(self._empty, len(self._core) == 0)
        self._rearm()

    async def _sync(self, files: Sequence[int]) -> None:
        if self._disk is None:
            raise AssertionError("only an outbox on a disk is synced")
        try:
            await asyncio.to_thread(self._disk.sync, files)
        except OSError as error:
            self._do(self._core.on_sync_failed(str(error), self._now()))
            return
        self._do(self._core.on_synced(self._now()))
        self._tell_durable()

    def _hold_back(self) -> None:
        """With an outbox on disk sources are told what is safe; until then nothing is."""
        if self._disk is not None and not self._disk.volatile:
            self._tell_sources(-inf)

    def _tell_sources(self, at_s: float) -> None:
        for source in self._sources:
            on_durable: Callable[[float], object] | None = getattr(source, "on_durable", None)
            if on_durable is not None:
                on_durable(at_s)

    def _tell_durable(self) -> None:
        """Tell the sources up to when what they gave is on the disk."""
        at_s = None
        while self._handed and self._handed[0][0] <= self._core.durable_seq:
            at_s = self._handed.popleft()[1]
        if at_s is not None:
            self._tell_sources(at_s)

    def _hand(self) -> None:
        """Note how many readings stand for everything that the sources gave so far, the clock's and the joiner's apart."""
        held = [intake.held_since for intake in (*self._former, self._intake)]
        numbered = self.figures().sent
        at_s = min([self._now(), *(s for s in held if s is not None)])
        if not self._handed or at_s > self._handed[-1][1]:
            self._handed.append((numbered, at_s))
        while len(self._handed) > HANDED_MAX:
            self._handed.popleft()

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
        level = logging.INFO if what.event in GOOD_NEWS else logging.WARNING
        _LOG.log(level, "%s device=%s detail=%s", what.event, self._config.device, what.detail)


def offer_time(source: Source, clock: Timekeeper) -> None:
    """Hand the time of a source that is a receiver to the clock; nothing happens with others."""
    anchor: tuple[int, float] | None = getattr(source, "anchor", None)
    if anchor is not None:
        utc_ns, at_s = anchor
        clock.offer(utc_ns, RECEIVER_ERROR_MS, max(0, round((time.monotonic() - at_s) * 1e9)))


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
