"""Where readings come from: the protocol of a source, the kinds there are, and the joining of several.

A kind is a function ``make(options, context) -> Source``. Built in is "csv"; a package adds kinds through the entry point
group ``fleetco2.sources`` (name = kind, value = "package.module:function").
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final, Protocol

from devices.clock import NowNs, wall_ns
from devices.config import ConfigError, SourceConfig
from devices.counters import Counters
from devices.wire import Sample

GROUP: Final = "fleetco2.sources"
BUILT_IN: Final = (EntryPoint("csv", "devices.source_csv:make", GROUP),)
IN_EXTRA: Final = {
    "can": "can",
    "firmware": "serial",
    "modbus": "modbus",
    "nmea": "gps",
    "simulated_vehicle": "server",
    "simulated_warehouse": "server",
    "parquet": "server",
}


class Source(Protocol):
    """Something that measures. ``samples`` is an async generator; it ends when there is nothing more to come.

    An exception it raises is said and counted, and ``samples`` is called again after a back-off: a source that cannot
    begin anew keeps its place itself. It may have: ``can_wait = True`` (a replay), then it is asked for less while the outbox
    fills; ``anchor`` (a receiver), UTC [ns] and ``Context.monotonic`` [s] of the same moment, or None; ``vin`` of the vehicle
    whose bus it reads; a method ``on_durable(at_s)``, where it keeps readings elsewhere until they are safe: what it gave
    before that time [monotonic s] is on this gateway's disk.
    """

    @property
    def name(self) -> str:
        """What messages and counters call it."""
        ...

    def samples(self) -> AsyncIterator[Sample]:
        """Readings in the order they were taken."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """What a kind may use to make its source. Relative paths start at ``base``; ``where`` is the configuration file."""

    name: str
    device: str = "gateway"
    where: str = "gateway.toml"
    base: Path = field(default_factory=Path)
    now_ns: NowNs = wall_ns
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep
    rng: random.Random = field(default_factory=random.Random)
    counters: Counters = field(default_factory=Counters)


Make = Callable[[Mapping[str, Any], Context], Source]


def kinds() -> dict[str, EntryPoint]:
    """Kinds of source by name: built in, and those of installed packages."""
    return {e.name: e for e in (*entry_points(group=GROUP), *BUILT_IN)}


def make(config: SourceConfig, context: Context) -> Source:
    """The source that ``config`` describes. ConfigError if the kind is not installed or the options are wrong."""
    key = f"source.{config.name}.kind"
    known = kinds()
    entry = known.get(config.kind)
    if entry is None:
        if config.kind in IN_EXTRA:
            mend = f"{config.kind!r} is not installed; it comes with: pip install 'fleetco2[{IN_EXTRA[config.kind]}]'"
        else:
            near = get_close_matches(config.kind, known, n=1)
            mend = f"there is no kind {config.kind!r}" + (f"; did you mean {near[0]!r}?" if near else "")
            mend += f"; installed are {', '.join(sorted(known))}"
        raise ConfigError(context.where, key, mend)
    try:
        factory: Make = entry.load()
    except ImportError as error:
        extra = IN_EXTRA.get(config.kind, "server")
        mend = f"{config.kind!r} cannot be loaded ({error}); it needs: pip install 'fleetco2[{extra}]'"
        raise ConfigError(context.where, key, mend) from None
    return factory(config.options, context)


def make_now_or_later(config: SourceConfig, context: Context) -> Source:
    """The source, or one that is made when that becomes possible: a port that is not there yet must not stop the others."""
    try:
        return make(config, context)
    except ConfigError:
        return _Later(config, context)


class _Later:
    """A source that could not be made. Each call of ``samples`` tries again, and raises what is wrong."""

    def __init__(self, config: SourceConfig, context: Context) -> None:
        self._config = config
        self._context = context
        self._made: Source | None = None

    @property
    def name(self) -> str:
        return self._config.name

    @property
    def can_wait(self) -> bool:
        return bool(getattr(self._made, "can_wait", False))

    @property
    def anchor(self) -> tuple[int, float] | None:
        anchor: tuple[int, float] | None = getattr(self._made, "anchor", None)
        return anchor

    async def samples(self) -> AsyncIterator[Sample]:
        """Readings of the source, once it is made. ConfigError while it cannot be."""
        if self._made is None:
            self._made = make(self._config, self._context)
        samples: Any = self._made.samples()
        async with aclosing(samples):
            async for sample in samples:
                yield sample
