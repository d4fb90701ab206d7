"""What ``[[source]] kind = "modbus"`` takes, and what is read because of it. No pymodbus here."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from devices.config import ConfigError, convert
from devices.counter_guard import COUNTERS
from devices.meters import (
    MODELS,
    Function,
    Model,
    Proof,
    Register,
    RegisterType,
    Setting,
    Span,
    WordOrder,
    overlapping,
    spans,
)
from devices.signals import BY_NAME

RTU_GAP_S: Final = 0.2  # some converters need so long to turn the line round

Signal = Annotated[str, Meta(description="name of a signal, see: python -m devices signals")]


class RegisterOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A ``[[source.meter.register]]`` of a meter with ``model = "registers"``."""

    signal: Signal
    address: Annotated[int, Meta(ge=0, le=65535, description="address in the frame, from 0")]
    type: Annotated[RegisterType, Meta(description="int16 to uint64, float32 or float64")]
    per_unit: Annotated[
        float, Meta(gt=0, description="raw steps in one unit of the signal: 10 if it counts tenths")
    ] = 1
    offset: Annotated[float, Meta(description="added after that")] = 0
    max_per_h: Annotated[float, Meta(gt=0, description="counters: the most they can rise in an hour")] = 20_000


class ProofOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A register whose value is known beforehand, such as the mains frequency: it proves the word order."""

    address: Annotated[int, Meta(ge=0, le=65535, description="address in the frame, from 0")]
    type: Annotated[RegisterType, Meta(description="int16 to uint64, float32 or float64")]
    low: Annotated[float, Meta(description="least value, in units of the register / per_unit")]
    high: Annotated[float, Meta(description="greatest value")]
    per_unit: Annotated[float, Meta(gt=0, description="raw steps in one unit")] = 1


class MeterOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A ``[[source.meter]]``."""

    name: Annotated[str, Meta(min_length=1, description="what messages and counters call it")]
    model: Annotated[str, Meta(description='sdm630, iem3155, em24, em24_e1, or "registers"')]
    unit: Annotated[int, Meta(ge=0, le=255, description="its address on the line, 1 to 247")] = 1
    signals: Annotated[dict[str, Signal], Meta(description='import_kwh = "grid_import_kwh", export_kwh, power_kw')] = {}
    ratio: Annotated[float, Meta(gt=0, description="current transformers that the meter does not know of")] = 1
    max_kw: Annotated[float, Meta(gt=0, description="the most this meter can see; a faster rise is refused")] = 20_000
    word_order: Annotated[
        Literal["model", "high_first", "low_first"], Meta(description='"model" = that of the model')
    ] = "model"
    write_setting: Annotated[
        bool, Meta(description="em24, em24_e1: set application H where it is not set; else the meter is refused")
    ] = False
    function: Annotated[Function, Meta(description="registers: 3 holding, 4 input")] = 4
    register: Annotated[tuple[RegisterOptions, ...], Meta(description="registers: what to read")] = ()
    proof: ProofOptions | None = None


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What ``[[source]] kind = "modbus"`` takes."""

    meter: Annotated[tuple[MeterOptions, ...], Meta(min_length=1, description="[[source.meter]] tables")]
    host: Annotated[str, Meta(description="TCP: name or address")] = ""
    port: Annotated[int, Meta(ge=1, le=65535, description="TCP: 502 is usual")] = 502
    framing: Annotated[Literal["tcp", "rtu"], Meta(description='TCP: "rtu" for converters that pass RTU frames')] = (
        "tcp"
    )
    serial: Annotated[str, Meta(description="RTU: the line, such as /dev/ttyAMA0")] = ""
    baudrate: Annotated[int, Meta(ge=300, le=1_000_000, description="RTU: 9600 is usual")] = 9600
    parity: Annotated[Literal["N", "E", "O"], Meta(description='RTU: "N", "E" or "O"')] = "N"
    stopbits: Annotated[int, Meta(ge=1, le=2, description="RTU: 1 or 2")] = 1
    rs485: Annotated[bool, Meta(description="RTU: have the kernel switch the driver (boards that wire it to RTS)")] = (
        False
    )
    every_s: Annotated[float, Meta(ge=0.05, le=3600, description="seconds between polls")] = 10
    timeout_s: Annotated[float, Meta(ge=0.02, le=30, description="seconds to wait for an answer")] = 1
    gap_s: Annotated[
        float, Meta(ge=-1, le=10, description="pause before a request; -1 = 0.2 with RTU, 0 with TCP")
    ] = -1


@dataclass(frozen=True, slots=True)
class Line:
    """Where meters hang: ``host`` and ``port``, or ``serial`` with its settings.

    ``rtu`` : RTU frames, always on a serial line and with some converters over TCP. ``gap_s`` : pause before each request.
    """

    host: str = ""
    port: int = 502
    serial: str = ""
    baudrate: int = 9600
    parity: Literal["N", "E", "O"] = "N"
    stopbits: int = 1
    rtu: bool = False
    rs485: bool = False
    timeout_s: float = 1.0
    gap_s: float = 0.0

    @property
    def place(self) -> str:
        """How messages call it."""
        return self.serial or f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One value to read: where it stands and the signal it feeds.

    ``most`` : a greater amount is no value; a counter ends there. ``per_h`` : the most a counter can rise in an hour.
    """

    register: Register
    signal: str
    ratio: float
    most: float
    per_h: float


@dataclass(frozen=True, slots=True)
class MeterPlan:
    """One meter: who it is, what is wanted of it, and the requests that cover that."""

    name: str
    unit: int
    model: Model
    order: WordOrder
    setting: Setting | None
    write_setting: bool
    wanted: tuple[Wanted, ...]
    requests: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """A line and its meters, polled every ``every_s``."""

    line: Line
    meters: tuple[MeterPlan, ...]
    every_s: float


def plan(options: Mapping[str, Any], where: str, key: str) -> Plan:
    """The options taken apart. ConfigError if a model, a quantity or a signal is not known."""
    given = convert(dict(options), Options, where, key)
    if bool(given.host) == bool(given.serial):
        raise ConfigError(where, key, "give host (TCP) or serial (RTU), one of the two")
    rtu = bool(given.serial) or given.framing == "rtu"
    line = Line(
        host=given.host,
        port=given.port,
        serial=given.serial,
        baudrate=given.baudrate,
        parity=given.parity,
        stopbits=given.stopbits,
        rtu=rtu,
        rs485=given.rs485,
        timeout_s=given.timeout_s,
        gap_s=given.gap_s if given.gap_s >= 0 else RTU_GAP_S if rtu else 0.0,
    )
    names = [m.name for m in given.meter]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(where, f"{key}.meter", f"{name!r} names two meters; give each its own name")
    meters = tuple(_meter(m, where, f"{key}.meter.{m.name}") for m in given.meter)
    return Plan(line, meters, given.every_s)


def _meter(given: MeterOptions, where: str, key: str) -> MeterPlan:
    if given.model == "registers":
        model, wanted = _by_registers(given, where, key)
    else:
        model, wanted = _by_model(given, where, key)
    if not wanted:
        mend = 'nothing is read from it; write for example signals = { import_kwh = "grid_import_kwh" }'
        raise ConfigError(where, key, mend)
    return MeterPlan(
        name=given.name,
        unit=given.unit,
        model=model,
        order=model.order if given.word_order == "model" else given.word_order,
        setting=model.setting if model.setting and not model.setting.concerns.isdisjoint(given.signals) else None,
        write_setting=given.write_setting,
        wanted=wanted,
        requests=spans((w.register for w in wanted), model.reach, model.longer),
    )


def _by_model(given: MeterOptions, where: str, key: str) -> tuple[Model, tuple[Wanted, ...]]:
    model = MODELS.get(given.model)
    if model is None:
        near = get_close_matches(given.model, MODELS, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        known = ", ".join(f"{m.name} ({m.title})" for m in MODELS.values())
        mend = f"there is no model {given.model!r}; {hint}known are {known}, and registers (give each register)"
        raise ConfigError(where, f"{key}.model", mend)
    if given.register or given.proof is not None:
        raise ConfigError(where, key, 'register and proof go with model = "registers"; leave them out')
    wanted = []
    for quantity, signal in given.signals.items():
        register = model.values.get(quantity)
        if register is None:
            known = ", ".join(model.values)
            raise ConfigError(where, f"{key}.signals.{quantity}", f"{model.name} gives {known}")
        unit = quantity.rpartition("_")[2]
        if signal not in BY_NAME or not signal.endswith(f"_{unit}"):
            fitting = ", ".join(name for name in BY_NAME if name.endswith(f"_{unit}"))
            mend = f"{signal!r} is no signal in {unit}; such are {fitting}"
            raise ConfigError(where, f"{key}.signals.{quantity}", mend)
        most = model.top_kwh * given.ratio if signal in COUNTERS else given.max_kw
        wanted.append(Wanted(register, signal, given.ratio, most, given.max_kw))
    return model, tuple(wanted)


def _by_registers(given: MeterOptions, where: str, key: str) -> tuple[Model, tuple[Wanted, ...]]:
    if given.signals:
        raise ConfigError(where, f"{key}.signals", "goes with a known model; a register names its signal itself")
    wanted = []
    for i, options in enumerate(given.register):
        signal = BY_NAME.get(options.signal)
        if signal is None:
            near = get_close_matches(options.signal, BY_NAME, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(where, f"{key}.register[{i}].signal", f"{options.signal!r} is no signal{hint}")
        register = Register(options.address, options.type, options.per_unit, options.offset)
        most = max(-signal.low, signal.high)
        wanted.append(Wanted(register, options.signal, given.ratio, most, options.max_per_h))
    if (clash := overlapping(w.register for w in wanted)) is not None:
        first, second = clash
        mend = f"the registers at {first.address} ({first.kind}) and {second.address} overlap"
        raise ConfigError(where, f"{key}.register", mend)
    proof = None
    if given.proof is not None:
        p = given.proof
        proof = Proof(Register(p.address, p.type, p.per_unit), p.low, p.high, "the proof")
    model = Model(
        name="registers",
        title="meter given by its registers",
        function=given.function,
        order="high_first",
        values={w.signal: w.register for w in wanted},
        identity=None,
        proof=proof,
    )
    return model, tuple(wanted)
