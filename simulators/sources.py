"""A simulated vehicle as a gateway's source, in real time or faster. Runs with the gateway's base dependencies."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from devices.config import ConfigError, convert
from devices.sources import Context
from devices.wire import Sample
from simulators.classes import CLASSES
from simulators.layout import SIGNALS
from simulators.scenario import Class, Scenario, ScenarioError, check, load
from simulators.single import TICKS_PER_S, SingleVehicle

MAX_WARMUP_S = 86_400  # a day takes 3 s of a Raspberry Pi's start


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of the source kind "simulated_vehicle"."""

    scenario: Annotated[str, Meta(description="a shipped scenario's name or a file")] = "cold-trunk"
    fleet: Annotated[str, Meta(description="which of its fleets; blank = the first")] = ""
    number: Annotated[int, Meta(ge=1, le=20_000, description="which vehicle of the fleet, from 1")] = 1
    vehicle_class: Annotated[
        Class | None, Meta(description="drive the fleet's tours with another class of vehicle")
    ] = msgspec.field(default=None, name="class")
    shift: Annotated[
        Literal["scenario", "always"], Meta(description='"always" (never parked for the night) or "scenario"')
    ] = "always"
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1, description="of vehicle, driver, weather and sensors")] = 1
    speed: Annotated[float, Meta(gt=0, le=10_000, description="seconds simulated per second")] = 1.0
    rate_hz: Annotated[Literal[1, 2, 5, 10], Meta(description="readings a simulated second: 1, 2, 5 or 10")] = 1
    start: Annotated[str, Meta(description="begin of simulated time with its offset; blank = now")] = ""
    warmup_s: Annotated[int, Meta(ge=0, le=MAX_WARMUP_S, description="seconds driven before the first reading")] = 3600


class VehicleSource:
    """Readings of ``vehicle`` as they become due, ``speed`` times as fast as the clock.

    Their times are simulated times: with ``speed`` above 1 they run ahead of the clock unless the start lies in the past.
    A parked vehicle's gateway is off and gives nothing. ``sleep`` and ``now_s`` (monotonic seconds) are passed in by tests.
    """

    def __init__(
        self,
        vehicle: SingleVehicle,
        *,
        speed: float = 1.0,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        if not speed > 0.0:
            raise ValueError(f"speed is {speed}, must be above 0")
        self.name = f"simulated {vehicle.vehicle.name}"
        self._vehicle, self._speed = vehicle, speed
        self._sleep, self._now_s = sleep, now_s

    async def samples(self) -> AsyncIterator[Sample]:
        """Yield each reading when it is due; never ends."""
        vehicle = self._vehicle
        began_s, first = self._now_s(), vehicle.tick
        while True:
            due_s = (vehicle.tick + vehicle.every_ticks - first) / TICKS_PER_S / self._speed
            await self._sleep(max(0.0, due_s - (self._now_s() - began_s)))
            if vehicle.step():
                yield Sample(vehicle.time_ns, sample_values(vehicle))


def sample_values(vehicle: SingleVehicle) -> dict[str, float]:
    """What the vehicle's last reading measured, by signal name."""
    return {name: float(value) for name, value in zip(SIGNALS, vehicle.values, strict=True) if value == value}


def make(options: Mapping[str, Any], context: Context) -> VehicleSource:
    """The source as configured. ConfigError for options that cannot be."""
    key = f"source.{context.name}"
    chosen = convert(dict(options), Options, context.where, key)
    try:
        scenario = load(context.base / chosen.scenario if chosen.scenario.endswith(".toml") else chosen.scenario)
        names = [fleet.name for fleet in scenario.fleet]
        if chosen.fleet and chosen.fleet not in names:
            mend = f"no fleet {chosen.fleet!r} in {chosen.scenario}; there are {', '.join(names)}"
            raise ConfigError(context.where, f"{key}.fleet", mend)
        index = names.index(chosen.fleet) if chosen.fleet else 0
        scenario = _adapted(scenario, index, chosen)
    except ScenarioError as error:
        raise ConfigError(context.where, f"{key}.scenario", str(error)) from None
    start_ns = context.now_ns()
    if chosen.start:
        start_ns = _start_ns(chosen.start, context, key)
    every = TICKS_PER_S // chosen.rate_hz
    start_ns -= chosen.warmup_s * 1_000_000_000
    vehicle = SingleVehicle(
        scenario, chosen.seed, fleet=index, number=chosen.number, start_ns=start_ns, every_ticks=every
    )
    while vehicle.tick < chosen.warmup_s * TICKS_PER_S:
        vehicle.step()
    vehicle.restart()
    return VehicleSource(vehicle, speed=chosen.speed, sleep=context.sleep, now_s=context.monotonic)


def _adapted(scenario: Scenario, index: int, chosen: Options) -> Scenario:
    """The scenario with the one fleet changed as the options say."""
    fleet = scenario.fleet[index]
    changes: dict[str, Any] = {}
    if chosen.shift == "always":
        changes["shift"] = "always"
    if chosen.vehicle_class is not None:
        changes["vehicle_class"] = chosen.vehicle_class
        changes["gvw_kg"] = changes["tare_kg"] = None
        if CLASSES[chosen.vehicle_class].electric != (fleet.fuel == "electricity"):
            changes["fuel"] = "electricity" if CLASSES[chosen.vehicle_class].electric else "diesel_b7"
    fleets = list(scenario.fleet)
    fleets[index] = msgspec.structs.replace(fleet, **changes)
    changed = msgspec.structs.replace(scenario, fleet=tuple(fleets))
    check(changed, source=chosen.scenario)
    return changed


def _start_ns(text: str, context: Context, key: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError("it has no offset such as +00:00")
    except ValueError as error:
        raise ConfigError(context.where, f"{key}.start", f"{text!r} is not a time: {error}") from None
    return int(moment.timestamp()) * 1_000_000_000
