"""The source "modbus": meters on one Modbus line, TCP or RTU, each polled every ``every_s``.

A meter is believed only after it has said which model it is and a value of known size has come out right (``meters``), and
its counters only while they rise as they can (``counter_guard``). Each round gives at most one reading, with the time of the
first answer in it; a meter that gave no answer in the round is not in it.
"""

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final

from devices.counter_guard import COUNTERS, GOOD, CounterGuard
from devices.meters import Identity, Refusal, Span, covers, cut, decode, refuse_identity, refuse_proof
from devices.modbus_bus import NO_REGISTER, Bus, NoAnswerError, RefusedError
from devices.modbus_options import MeterPlan, Plan, Wanted, plan
from devices.sources import Context, Source
from devices.wire import Sample

REPROVE_S: Final = 3600.0  # a meter is asked again which one it is: it may be exchanged while the gateway runs
BACKOFF_MOST_S: Final = 60.0  # a dead meter is tried this often; it costs the line one timeout
_LOG: Final = logging.getLogger("devices.modbus")


def make(options: Mapping[str, Any], context: Context) -> Source:
    """The meters of one line. ConfigError if the options are wrong."""
    return ModbusMeters(plan(options, context.where, f"source.{context.name}"), context)


class NoMeterError(OSError):
    """No meter of the line can be read; the text has the reason of each."""


class _MistakenError(Exception):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal


@dataclass(slots=True)
class _Meter:
    """What is known of one meter. ``failures`` : tries in a row that gave nothing usable."""

    plan: MeterPlan
    guards: dict[Wanted, CounterGuard]
    proved: bool = False
    identified: bool = False
    prove_at: float = inf
    serial: tuple[int, ...] | None = None
    has_serial: bool = True
    failures: int = 0
    retry_at: float = -inf
    said: str = ""
    missing: set[Span] = field(default_factory=set)


@dataclass(slots=True)
class _Round:
    time_ns: int = 0
    parts: dict[str, list[float]] = field(default_factory=dict)


class ModbusMeters:
    """Polls the meters of a line in turn. Started again it knows its counters' last readings."""

    def __init__(self, what: Plan, context: Context) -> None:
        self._line = what.line
        self._every_s = what.every_s
        self._context = context
        self._meters = tuple(_Meter(m, {w: _guard(w) for w in m.wanted if w.signal in COUNTERS}) for m in what.meters)
        signals = [w.signal for m in what.meters for w in m.wanted]
        self._parts_of = {signal: signals.count(signal) for signal in signals}

    @property
    def name(self) -> str:
        return self._context.name

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong with single meters now, in words; the line goes on without them."""
        return tuple(f"meter {m.plan.name}: {m.said}" for m in self._meters if m.failures)

    async def samples(self) -> AsyncIterator[Sample]:
        """One reading a round. BusError if the line is gone, NoMeterError if no meter on it can be read."""
        clock, sleep = self._context.monotonic, self._context.sleep
        bus = Bus(self._line, sleep)
        await bus.open()
        try:
            for meter in self._meters:
                meter.retry_at, meter.proved = -inf, False
            await self._revive(bus)
            due = clock()
            while True:
                self._require_some()
                sample = await self._round(bus)
                if sample is not None:
                    yield sample
                await self._revive(bus)
                self._require_some()
                due = max(due + self._every_s, clock())
                await sleep(due - clock())
        finally:
            bus.close()

    async def _round(self, bus: Bus) -> Sample | None:
        """Poll the meters that are well; the others are tried after these values have left."""
        found = _Round()
        for meter in self._meters:
            if not meter.failures:
                await self._poll(bus, meter, found)
        values: dict[str, float] = {}
        for signal, parts in found.parts.items():
            if len(parts) == self._parts_of[signal]:
                values[signal] = sum(parts)
            else:  # a sum that misses a part would look like a fall
                self._context.counters.add("meter_sum_incomplete", label=signal)
        return Sample(found.time_ns, values) if values else None

    async def _revive(self, bus: Bus) -> None:
        """Try the failing meters whose time has come; one that is well again is polled from the next round on."""
        for meter in self._meters:
            if meter.failures and meter.retry_at <= self._context.monotonic():
                try:
                    await self._prove(bus, meter)
                except (NoAnswerError, RefusedError, _MistakenError) as error:
                    self._fail(meter, error)
                else:
                    meter.failures, meter.said = 0, ""
                    meter.missing.clear()
                    self._context.counters.add("meter_returned", label=meter.plan.name)
                    _LOG.warning("meter_returned source=%s meter=%s", self.name, meter.plan.name)

    def _require_some(self) -> None:
        faults = self.faults
        if len(faults) == len(self._meters):
            raise NoMeterError("; ".join(faults))

    async def _poll(self, bus: Bus, meter: _Meter, found: _Round) -> None:
        """Add what a meter says to ``found``. A meter that fails on the way adds nothing."""
        try:
            if not meter.proved or self._context.monotonic() >= meter.prove_at:
                await self._prove(bus, meter)
            answers = [answer async for answer in self._answers(bus, meter, found)]
        except (NoAnswerError, RefusedError, _MistakenError) as error:
            self._fail(meter, error)
            return
        for wanted in meter.plan.wanted:
            words = next((cut(at, got, wanted.register) for at, got in answers if covers(at, wanted.register)), None)
            value = None if words is None else self._judged(meter, wanted, words)
            if value is not None:
                found.parts.setdefault(wanted.signal, []).append(value)

    async def _answers(self, bus: Bus, meter: _Meter, found: _Round) -> AsyncIterator[tuple[Span, list[int]]]:
        plan = meter.plan
        proof = plan.model.proof
        for span in plan.requests:
            if span in meter.missing:
                continue
            try:
                words = await bus.read(plan.unit, plan.model.function, span, attempts=2)
            except RefusedError as error:
                if error.code != NO_REGISTER or len(meter.missing) + 1 == len(plan.requests):
                    raise
                self._miss(meter, span)
                continue
            found.time_ns = found.time_ns or self._context.now_ns()
            if proof is not None and covers(span, proof.register):
                seen = cut(span, words, proof.register)
                _require(refuse_proof(proof, seen, plan.order, identified=meter.identified))
            yield span, words

    def _judged(self, meter: _Meter, wanted: Wanted, words: Sequence[int]) -> float | None:
        """The value, or None where there is none or it cannot be."""
        count = self._context.counters.add
        raw = decode(words, wanted.register, meter.plan.order)
        if raw is None:
            count("meter_value_absent", label=wanted.signal)
            return None
        value = raw * wanted.ratio
        guard = meter.guards.get(wanted)
        if guard is None:
            if abs(value) <= wanted.most:
                return value
            count("meter_value_refused", label=f"{wanted.signal}: impossible")
            return None
        judgement = guard.judge(value, self._context.monotonic())
        if judgement == "anew":
            count("meter_counter_anew", label=wanted.signal)
            _LOG.warning("counter_anew source=%s meter=%s %s=%s", self.name, meter.plan.name, wanted.signal, value)
        if judgement in GOOD:
            return value
        count("meter_value_refused", label=f"{wanted.signal}: {judgement}")
        meter.proved = False  # is it still the same meter?
        return None

    async def _prove(self, bus: Bus, meter: _Meter) -> None:
        """Ask a meter which one it is; raises what ``_fail`` takes.

        The proof is read first, since every meter of the model has it: silence there is silence of the meter.
        """
        plan = meter.plan
        attempts = 1 if meter.failures else 2
        proof = plan.model.proof
        proof_words: list[int] = []
        proof_error: RefusedError | None = None
        if proof is not None:
            span = Span(proof.register.address, proof.register.words)
            try:
                proof_words = await bus.read(plan.unit, plan.model.function, span, attempts=attempts)
            except RefusedError as error:
                proof_error = error
        if plan.model.identity is not None:
            words = await _identity(bus, plan, plan.model.identity, attempts)
            _require(refuse_identity(plan.model, words))
            meter.identified = words is not None
        if proof_error is not None:
            raise proof_error
        if proof is not None:
            _require(refuse_proof(proof, proof_words, plan.order, identified=meter.identified))
        await self._check_serial(bus, meter)
        await _check_setting(bus, plan)
        meter.proved = True
        meter.prove_at = self._context.monotonic() + REPROVE_S

    async def _check_serial(self, bus: Bus, meter: _Meter) -> None:
        """Another serial number is another meter: its counters begin anew at once."""
        if meter.plan.model.serial is None or not meter.has_serial:
            return
        function, span = meter.plan.model.serial
        try:
            serial = tuple(await bus.read(meter.plan.unit, function, span))
        except (NoAnswerError, RefusedError):
            meter.has_serial = meter.serial is not None  # one that had it before is only slow
            return
        if meter.serial is not None and serial != meter.serial:
            meter.missing.clear()
            for guard in meter.guards.values():
                guard.forget()
            self._context.counters.add("meter_exchanged", label=meter.plan.name)
            _LOG.warning("meter_exchanged source=%s meter=%s", self.name, meter.plan.name)
        meter.serial = serial

    def _miss(self, meter: _Meter, span: Span) -> None:
        """Some meters of a model lack a register that others have; what they do have is read all the same."""
        meter.missing.add(span)
        signals = ", ".join(w.signal for w in meter.plan.wanted if covers(span, w.register))
        self._context.counters.add("meter_refused", label=f"{meter.plan.name}: no {span.address:#06x}")
        text = "register_missing source=%s meter=%s register=%#06x signals=%s"
        _LOG.warning(text, self.name, meter.plan.name, span.address, signals)

    def _fail(self, meter: _Meter, error: Exception) -> None:
        count = self._context.counters.add
        name = meter.plan.name
        if isinstance(error, _MistakenError):
            count("meter_refused", label=f"{name}: {error.refusal.reason}")
        elif isinstance(error, RefusedError):
            count("meter_refused", label=f"{name}: exception {error.code}")
        else:
            count("meter_silent", label=name)
        meter.proved = False
        wait_s = min(BACKOFF_MOST_S, self._every_s * 2.0**meter.failures)
        meter.retry_at = self._context.monotonic() + wait_s
        meter.failures = min(meter.failures + 1, 16)  # 2^16 periods are far above the ceiling
        if str(error) != meter.said:
            meter.said = str(error)
            _LOG.warning("meter_lost source=%s meter=%s detail=%s", self.name, name, meter.said)


async def _identity(bus: Bus, plan: MeterPlan, identity: Identity, attempts: int) -> list[int] | None:
    """The identity registers; None if the meter has none."""
    try:
        return await bus.read(plan.unit, identity.function, identity.span, attempts=attempts)
    except RefusedError:
        return None
    except NoAnswerError:
        if identity.needed:
            raise
        return None  # it has just answered, so it is silent about a register it does not have


async def _check_setting(bus: Bus, plan: MeterPlan) -> None:
    """Raise unless the register that decides which values there are is set as the map needs it, where it exists."""
    setting = plan.setting
    if setting is None:
        return
    span = Span(setting.address, 1)
    try:
        (value,) = await bus.read(plan.unit, 3, span)
    except RefusedError:
        return
    if value != setting.wanted and plan.write_setting:
        await bus.write(plan.unit, span.address, setting.wanted)
        (value,) = await bus.read(plan.unit, 3, span)
    if value != setting.wanted:
        mend = "set it at the meter" + ("" if plan.write_setting else ", or write write_setting = true")
        text = f"register {span.address:#06x} holds {value} where {setting.name} is {setting.wanted}; {mend}"
        raise _MistakenError(Refusal("setting", text))


def _guard(wanted: Wanted) -> CounterGuard:
    return CounterGuard(per_h=wanted.per_h, top=wanted.most)


def _require(refusal: Refusal | None) -> None:
    if refusal is not None:
        raise _MistakenError(refusal)
