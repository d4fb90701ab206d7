"""The source "pulse": a meter that gives a pulse per unit (S0), counted here or by hardware; the count is sent, not a rate.

The running count is saved before each reading is given, so it never falls. Pulses while the gateway is off are lost where it
counts itself, and kept where hardware counts on.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from devices.config import ConfigError, convert
from devices.counter_guard import COUNTERS, GOOD, CounterGuard
from devices.gpio_edges import EdgeCount, open_line
from devices.saved import SavedError, load, save
from devices.sources import Context, Source
from devices.wire import Sample

TAIL_BYTES: Final = 4096  # a count and the lines before it
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_LOG: Final = logging.getLogger("devices.pulse")


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What ``[[source]] kind = "pulse"`` takes."""

    signal: Annotated[str, Meta(description="a counter, see: python -m devices signals")]
    per_unit: Annotated[float, Meta(gt=0, description="pulses in one unit of the signal: 1000 for 1000 imp/kWh")]
    start: Annotated[float, Meta(ge=0, description="what the meter showed when counting began")] = 0
    state: Annotated[str, Meta(description="file that keeps the count; blank = <name>.count.json")] = ""
    every_s: Annotated[float, Meta(ge=1, le=3600, description="seconds between readings; each writes the count")] = 60
    max_per_s: Annotated[float, Meta(gt=0, description="the fastest pulses the meter gives; S0 allows 16.7")] = 20
    chip: Annotated[str, Meta(description="GPIO: the chip, such as /dev/gpiochip0")] = ""
    line: Annotated[int, Meta(ge=0, le=1023, description="GPIO: number of the line on the chip")] = 0
    edge: Annotated[Literal["rising", "falling"], Meta(description='GPIO: "rising" or "falling"')] = "falling"
    bias: Annotated[
        Literal["as-is", "pull-up", "pull-down"], Meta(description='GPIO: "as-is", "pull-up" or "pull-down"')
    ] = "pull-up"
    debounce_ms: Annotated[float, Meta(ge=0, le=1000, description="GPIO: shorter pulses are none; S0 has 30 ms")] = 10
    path: Annotated[str, Meta(description="instead of GPIO: file whose last line is a running count")] = ""
    resets_at_boot: Annotated[bool, Meta(description="path: its count begins at 0 with each boot")] = False


class SavedCount(msgspec.Struct, frozen=True):
    """What outlives the gateway: pulses so far, and the hardware's count at ``time_ns`` of the boot ``boot``."""

    pulses: int
    raw: int = 0
    time_ns: int = 0
    boot: str = ""


def make(options: Mapping[str, Any], context: Context) -> Source:
    """The pulses of one meter. ConfigError if the signal is no counter, or the saved count cannot be used."""
    key = f"source.{context.name}"
    given = convert(dict(options), Options, context.where, key)
    if given.signal not in COUNTERS:
        known = ", ".join(sorted(COUNTERS))
        raise ConfigError(context.where, f"{key}.signal", f"{given.signal!r} is no counter; such are {known}")
    if bool(given.chip) == bool(given.path):
        raise ConfigError(context.where, key, "give chip and line (GPIO) or path (a file with a count), one of the two")
    state = context.base / (given.state or f"{context.name}.count.json")
    try:
        load(state, SavedCount)
    except SavedError as error:
        raise ConfigError(context.where, f"{key}.state", str(error)) from None
    if given.path:
        return CountFile(given, state, context)
    opened = partial(
        open_line,
        given.chip,
        given.line,
        edge=given.edge,
        bias=given.bias,
        debounce_us=round(given.debounce_ms * 1000),
    )
    return GpioPulses(given, state, context, opened)


class _Pulses:
    """What both ways of counting share: the total, its file and its readings."""

    def __init__(self, options: Options, state: Path, context: Context) -> None:
        self._options = options
        self._state = state
        self._context = context
        self._unsaved = ""

    @property
    def name(self) -> str:
        return self._context.name

    def _reading(self, count: SavedCount) -> Sample | None:
        """The reading of a count that is safe on disk; None while the disk refuses it."""
        try:
            save(self._state, count)
        except OSError as error:
            self._context.counters.add("pulse_count_unsaved", label=self.name)
            if str(error) != self._unsaved:
                self._unsaved = str(error)
                _LOG.warning("pulse_count_unsaved source=%s detail=%s", self.name, error)
            return None
        self._unsaved = ""
        value = self._options.start + count.pulses / self._options.per_unit
        return Sample(count.time_ns, {self._options.signal: value})


class GpioPulses(_Pulses):
    """Pulses counted by this process. ``opened`` gives a descriptor of line events."""

    def __init__(self, options: Options, state: Path, context: Context, opened: Callable[[], int]) -> None:
        super().__init__(options, state, context)
        self._opened = opened

    async def samples(self) -> AsyncIterator[Sample]:
        """A reading each ``every_s``. OSError if the line cannot be had or is lost."""
        context, loop = self._context, asyncio.get_running_loop()
        pulses = (load(self._state, SavedCount) or SavedCount(0)).pulses
        fd = self._opened()
        count, lost = EdgeCount(), asyncio.Event()
        loop.add_reader(fd, _feed, fd, count, lost)
        taken, at_s = 0, context.monotonic()
        try:
            while not lost.is_set():
                await context.sleep(self._options.every_s)
                pulses += self._believed(count.edges - taken, context.monotonic() - at_s)
                taken, at_s = count.edges, context.monotonic()
                reading = self._reading(SavedCount(pulses, time_ns=context.now_ns()))
                if reading is not None:
                    yield reading
            raise OSError(f"{self._options.chip} gives no more events; was it unplugged?")
        finally:
            loop.remove_reader(fd)
            os.close(fd)
            pulses += self._believed(count.edges - taken, context.monotonic() - at_s)
            self._reading(SavedCount(pulses, time_ns=context.now_ns()))

    def _believed(self, new: int, elapsed_s: float) -> int:
        """Faster pulses than the meter can give are noise of the line, and no pulse can be told from it."""
        if new <= self._options.max_per_s * elapsed_s + 1:
            return new
        self._context.counters.add("pulses_impossible", new, label=self.name)
        return 0


class CountFile(_Pulses):
    """Pulses counted by hardware or another program, which writes its running count into a file."""

    async def samples(self) -> AsyncIterator[Sample]:
        """A reading each ``every_s``. OSError if the file cannot be read or has no count."""
        context, options = self._context, self._options
        boot = BOOT_ID.read_text().strip() if options.resets_at_boot else ""
        saved = load(self._state, SavedCount)
        guard = CounterGuard(per_h=options.max_per_s * 3600)
        if saved is not None:  # what was counted since then, also while the gateway was off, is added
            if boot != saved.boot:
                saved = msgspec.structs.replace(saved, raw=0, boot=boot)
            guard.judge(saved.raw, saved.time_ns / 1e9)
        while True:
            raw, now_ns = last_count(context.base / options.path), context.now_ns()
            judgement = guard.judge(raw, now_ns / 1e9)
            if saved is None:
                saved = SavedCount(0, raw, now_ns, boot)
            elif judgement in GOOD:
                saved = SavedCount(saved.pulses + self._new(saved, raw, now_ns), raw, now_ns, boot)
            else:
                context.counters.add("pulses_impossible", label=self.name)
            if judgement in GOOD:
                reading = self._reading(saved)
                if reading is not None:
                    yield reading
            await context.sleep(options.every_s)

    def _new(self, saved: SavedCount, raw: int, now_ns: int) -> int:
        """Pulses since ``saved``; of a count that jumped nothing, of one that began again what it has."""
        possible = self._options.max_per_s * max(0.0, (now_ns - saved.time_ns) / 1e9) + 1
        if raw < saved.raw:
            self._context.counters.add("pulse_counter_restarted", label=self.name)
        new = raw - saved.raw if raw >= saved.raw else raw
        return new if new <= possible else 0


def last_count(path: Path) -> int:
    """The number in the last whole line of a file. OSError if there is none."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL_BYTES))
        lines = file.read(TAIL_BYTES).split(b"\n")
    whole = [line for line in (lines[:-1] or lines) if line.strip()]
    text = whole[-1].strip() if whole else b""
    if not text.isdigit() or len(text) > 18:
        raise OSError(f"the last line of {path} is {text[:40]!r}, not a count")
    return int(text)


def _feed(fd: int, count: EdgeCount, lost: asyncio.Event) -> None:
    try:
        data = os.read(fd, 1 << 16)
    except BlockingIOError:
        return
    except OSError:
        data = b""
    if data:
        count.feed(data)
    else:
        asyncio.get_running_loop().remove_reader(fd)
        lost.set()
