"""A simulated warehouse as a gateway's source, in real time or faster. Runs with the gateway's base dependencies."""

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
from simulators.warehouse import Warehouse
from simulators.warehouse_spec import from_registry


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of the source kind "simulated_warehouse"."""

    preset: Annotated[
        Literal["ambient", "cold_store", "cross_dock"], Meta(description='"ambient", "cold_store" or "cross_dock"')
    ] = "ambient"
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1, description="of weather, trucks and meters")] = 1
    every_s: Annotated[int, Meta(ge=1, le=3600, description="seconds between readings, 1 to 3600")] = 10
    speed: Annotated[float, Meta(gt=0, le=100_000, description="seconds simulated per second")] = 1.0
    start: Annotated[str, Meta(description="begin of simulated time with its offset; blank = now")] = ""
    warehouse: Annotated[dict[str, Any], Meta(description="keys of the warehouse that differ from the preset")] = {}


class WarehouseSource:
    """Readings of ``warehouse`` every ``every_s`` simulated seconds, ``speed`` times as fast as the clock.

    Their times are simulated times: with ``speed`` above 1 they run ahead of the clock unless the start lies in the
    past. ``sleep`` and ``now_s`` (monotonic seconds) are passed in by tests.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        *,
        every_s: int = 10,
        speed: float = 1.0,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        if every_s < 1 or not speed > 0:
            raise ValueError(f"every_s is {every_s}, speed is {speed}; both must be above 0")
        self.name = f"simulated warehouse {warehouse.spec.warehouse}"
        self._warehouse, self._every_s, self._speed = warehouse, every_s, speed
        self._sleep, self._now_s = sleep, now_s

    async def samples(self) -> AsyncIterator[Sample]:
        """Yield each reading when it is due; never ends. Readings that the site's meters lost are left out."""
        start_s, first_s = self._now_s(), self._warehouse.now_s
        while True:
            until = self._warehouse.now_s + self._every_s
            wait_s = (until - first_s) / self._speed - (self._now_s() - start_s)
            await self._sleep(max(wait_s, 0.0))
            self._warehouse.advance(until)
            values = self._warehouse.read()
            if values is not None:
                yield Sample(until * 1_000_000_000, values)


def make(options: Mapping[str, Any], context: Context) -> WarehouseSource:
    """The source as configured. ConfigError for options that cannot be."""
    key = f"source.{context.name}"
    chosen = convert(dict(options), Options, context.where, key)
    start_s = context.now_ns() // 1_000_000_000
    if chosen.start:
        try:
            start_s = int(datetime.fromisoformat(chosen.start).timestamp())
            if datetime.fromisoformat(chosen.start).tzinfo is None:
                raise ValueError("it has no offset such as +00:00")
        except ValueError as error:
            raise ConfigError(context.where, f"{key}.start", f"{chosen.start!r} is not a time: {error}") from None
    row = {"warehouse": context.device, "device": context.device, "name": context.device, "grid_zone": "any"}
    row |= {"lat_deg": "48", "lon_deg": "11"}
    try:
        spec = from_registry(row, chosen.preset, **chosen.warehouse)
        warehouse = Warehouse(spec, seed=chosen.seed, start_s=start_s)
    except ValueError as error:
        raise ConfigError(context.where, f"{key}.warehouse", str(error)) from None
    return WarehouseSource(warehouse, every_s=chosen.every_s, speed=chosen.speed, sleep=context.sleep)
