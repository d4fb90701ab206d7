"""What each source says right now, in words for the person who fits it: value, age, and whether it can be."""

import asyncio
import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from devices.clock import NowNs, is_dated
from devices.config import ConfigError, SourceConfig
from devices.outbox import CUMULATIVE
from devices.signals import BY_NAME
from devices.sources import Source

OLD_S: Final = 60.0  # a value this old is not of now
AHEAD_S: Final = 5.0  # a value from the future: the sensor's clock, or ours, is wrong
RETRY_S: Final = 1.0  # a source that fails is tried again so often while it is looked at
_RISING: Final = frozenset(name for name in CUMULATIVE if BY_NAME[name].low >= 0)  # a battery's energy may fall
_WORDS: Final[Mapping[int, str]] = {
    errno.ENOENT: "it is not there: is it plugged in, and is the name right?",
    errno.ENODEV: "it is not there: is it plugged in, and is the name right?",
    errno.ENXIO: "it is not there: is it plugged in, and does its interface exist?",
    errno.EACCES: "it must not be opened: is this user in the group dialout, and does the unit's DeviceAllow name it?",
    errno.EPERM: "it must not be opened: is this user in the group dialout, and does the unit's DeviceAllow name it?",
    errno.EBUSY: "another program has it open",
    errno.ENETDOWN: "the interface is down: for a CAN bus, ip link set can0 up type can bitrate 250000",
    errno.ECONNREFUSED: "nobody listens there: is the other program running, and is the port right?",
    errno.EHOSTUNREACH: "it cannot be reached: is the cable in, and is the address right?",
    errno.ETIMEDOUT: "it does not answer: is it on, and is the address right?",
    errno.EIO: "it was unplugged, or its cable is bad",
}


@dataclass(slots=True)
class Heard:
    """The newest value of one signal. ``fell`` : a counter was lower than before."""

    value: float
    time_ns: int
    fell: bool = False


@dataclass(slots=True)
class Found:
    """What one source gave while it was looked at."""

    name: str
    kind: str
    error: str = ""
    readings: int = 0
    recorded: bool = False
    signals: dict[str, Heard] = field(default_factory=dict)


def plain(error: BaseException) -> str:
    """What went wrong, and what to look at."""
    if isinstance(error, ConfigError):
        return f"the configuration is wrong, {error.key}: {error.mend}"
    said = str(error) or type(error).__name__
    words = _WORDS.get(error.errno or 0) if isinstance(error, OSError) else None
    return said if words is None else f"{said}; {words}"


async def look(configs: Sequence[SourceConfig], make: Callable[[SourceConfig], Source], seconds: float) -> list[Found]:
    """All sources at once for ``seconds``; one that fails is tried again, and what it said last is kept."""
    found = [Found(c.name, c.kind) for c in configs]
    tasks = [asyncio.create_task(_listen(c, make, f)) for c, f in zip(configs, found, strict=True)]
    if tasks:
        done, _ = await asyncio.wait(tasks, timeout=seconds)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in done:
            task.result()
    return found


def report(found: Found, now_ns: NowNs) -> Iterator[str]:
    """Lines about one source."""
    head = f"{found.name} ({found.kind}): "
    if found.error and not found.readings:
        yield head + f"MISSING. {found.error}"
        return
    if not found.signals:
        yield head + "SILENT. It is there and gave no value: is the other side switched on?"
        return
    yield head + f"{found.readings} readings" + (f", then it failed: {found.error}" if found.error else "")
    for name, heard in sorted(found.signals.items()):
        fault = implausible(name, heard, found, now_ns())
        yield f"  {name:<24} {heard.value:>16.10g}  {_age(heard, now_ns()):<14} {'NO: ' + fault if fault else 'plausible'}"


def implausible(name: str, heard: Heard, found: Found, now_ns: int) -> str:
    """Why a value cannot be; blank if it can."""
    signal = BY_NAME.get(name)
    if signal is None:
        return "there is no such signal"
    if not signal.low <= heard.value <= signal.high:
        return f"outside {signal.low:g} to {signal.high:g}"
    if heard.fell:
        return "this counter fell; two sensors, or a restarted one?"
    age_s = (now_ns - heard.time_ns) / 1e9
    if found.recorded or not (is_dated(heard.time_ns) and is_dated(now_ns)):
        return ""
    if age_s < -AHEAD_S:
        return "its time lies in the future"
    return "old: the sensor repeats, or its clock is wrong" if age_s > OLD_S else ""


def is_good(found: Found, now_ns: int) -> bool:
    """Whether the source gave something and all of it can be."""
    faulty = any(implausible(name, heard, found, now_ns) for name, heard in found.signals.items())
    return bool(found.signals) and not found.error and not faulty


async def _listen(config: SourceConfig, make: Callable[[SourceConfig], Source], found: Found) -> None:
    while True:
        try:
            source = make(config)
            found.recorded = bool(getattr(source, "can_wait", False))
            samples: Any = source.samples()
            async with aclosing(samples):
                async for sample in samples:
                    found.error = ""
                    found.readings += 1
                    for name, value in sample.values.items():
                        _hear(found.signals, name, value, sample.time_ns)
                    if found.recorded:
                        await asyncio.sleep(0)  # a replay may never wait by itself
            return
        except Exception as error:  # a source is a plug-in: whatever it raises is what the fitter must read
            found.error = plain(error)
        await asyncio.sleep(RETRY_S)


def _hear(signals: dict[str, Heard], name: str, value: float, time_ns: int) -> None:
    heard = signals.get(name)
    if heard is None:
        signals[name] = Heard(value, time_ns)
        return
    heard.fell = heard.fell or (name in _RISING and value < heard.value)
    heard.value, heard.time_ns = value, time_ns


def _age(heard: Heard, now_ns: int) -> str:
    if not is_dated(heard.time_ns) and is_dated(now_ns):
        return "no date yet"
    if is_dated(heard.time_ns) and not is_dated(now_ns):
        return datetime.fromtimestamp(heard.time_ns // 10**9, UTC).date().isoformat()
    age_s = (now_ns - heard.time_ns) / 1e9
    return f"{age_s:.1f} s ago" if -AHEAD_S <= age_s < 86_400 else f"{age_s / 86_400:.1f} days ago"
