"""Electricity meters on Modbus: where their values stand, what they say they are, and registers to values. Pure.

Addresses are those of the frame, from 0; a manual that counts from 1 prints one more. Sources of each map stand in
``devices/README.md``. A value is ``raw / per_unit`` in the unit its name ends with.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import isfinite
from typing import Final, Literal

RegisterType = Literal["int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
WordOrder = Literal["high_first", "low_first"]
Function = Literal[3, 4]
RefusalReason = Literal["identity", "word_order", "implausible", "setting", "no_register"]

_FORMAT: Final[Mapping[RegisterType, str]] = {
    "int16": ">h",
    "uint16": ">H",
    "int32": ">i",
    "uint32": ">I",
    "int64": ">q",
    "uint64": ">Q",
    "float32": ">f",
    "float64": ">d",
}
WORDS: Final = {kind: struct.calcsize(form) // 2 for kind, form in _FORMAT.items()}
_OTHER_ORDER: Final[Mapping[WordOrder, WordOrder]] = {"high_first": "low_first", "low_first": "high_first"}
MAX_WORDS: Final = (
    60  # registers in one request: the least of the maps here that join registers (SDM72: 60, SDM630: 80)
)


@dataclass(frozen=True, slots=True)
class Register:
    """One value of ``raw / per_unit + offset``."""

    address: int
    kind: RegisterType
    per_unit: float = 1
    offset: float = 0

    @property
    def words(self) -> int:
        """16-bit registers it takes."""
        return WORDS[self.kind]


@dataclass(frozen=True, slots=True)
class Span:
    """Registers ``address`` to ``address + words - 1``, read in one request."""

    address: int
    words: int


@dataclass(frozen=True, slots=True)
class Proof:
    """A value whose size is known beforehand: in range with one word order only, so it proves the order."""

    register: Register
    low: float
    high: float
    name: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Where a meter says which it is: a number in one register, or text in several. ``known`` are those this map is for.

    ``needed`` is False where meters of the model exist that do not have the register.
    """

    function: Function
    span: Span
    known: Mapping[int | str, str]
    needed: bool = True


@dataclass(frozen=True, slots=True)
class Setting:
    """A holding register that must be ``wanted``, or the quantities in ``concerns`` are missing or without sign."""

    address: int
    wanted: int
    name: str
    concerns: frozenset[str]


@dataclass(frozen=True, slots=True)
class Model:
    """A register map.

    ``reach`` : unused registers that one request may run across. ``longer`` : words to ask for from some addresses, so that
    on RTU, whose answers do not say what was asked, a late answer for power has not the length of one for energy.
    ``top_kwh`` : end of the counters.
    """

    name: str
    title: str
    function: Function
    order: WordOrder
    values: Mapping[str, Register]
    identity: Identity | None
    proof: Proof | None
    serial: tuple[Function, Span] | None = None
    setting: Setting | None = None
    reach: int = 0
    longer: Mapping[int, int] = field(default_factory=dict)
    top_kwh: float = 1e8


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing of a meter is believed: the reason to count, and what to tell a fitter."""

    reason: RefusalReason
    text: str


_GAVAZZI_POWER: Final = {"power_kw": Register(0x0028, "int32", 10_000)}
_GAVAZZI_PROOF: Final = Proof(Register(0x0000, "int32", 10), 1, 500_000, "voltage L1-N [V]")
_SIGNED: Final = frozenset({"power_kw", "export_kwh"})
_HZ_LOW: Final = 40.0
_HZ_HIGH: Final = 70.0

MODELS: Final = {
    m.name: m
    for m in (
        Model(
            name="sdm630",
            title="Eastron SDM630",
            function=4,
            order="high_first",
            values={
                "power_kw": Register(0x0034, "float32", 1000),
                "import_kwh": Register(0x0048, "float32"),
                "export_kwh": Register(0x004A, "float32"),
            },
            identity=Identity(
                3,
                Span(0xFC02, 1),
                {0x0070: "SDM630", 0x0079: "SDM630MCT", 0x0089: "SDM72DM-V2"},
                needed=False,
            ),
            proof=Proof(Register(0x0046, "float32"), _HZ_LOW, _HZ_HIGH, "frequency [Hz]"),
            serial=(3, Span(0xFC00, 2)),
            reach=20,
        ),
        Model(
            name="iem3155",
            title="Schneider iEM3x55",
            function=3,
            order="high_first",
            values={
                "power_kw": Register(0x0BF3, "float32"),
                "import_kwh": Register(0x0C83, "int64", 1000),
                "export_kwh": Register(0x0C87, "int64", 1000),
            },
            identity=Identity(3, Span(0x0031, 20), {"iEM3155": "iEM3155", "iEM3255": "iEM3255", "iEM3355": "iEM3355"}),
            proof=Proof(Register(0x0C25, "float32"), _HZ_LOW, _HZ_HIGH, "frequency [Hz]"),
            serial=(3, Span(0x0081, 2)),
            top_kwh=1e9,
        ),
        Model(
            name="em24",
            title="Carlo Gavazzi EM24 with RS-485",
            function=4,
            order="low_first",
            values=_GAVAZZI_POWER
            | {
                "import_kwh": Register(0x003E, "int32", 10),
                "import_partial_kwh": Register(0x0042, "int32", 10),
                "export_kwh": Register(0x005C, "int32", 10),
            },
            identity=Identity(
                4,
                Span(0x000B, 1),
                {70: "EM24-DIN AV9", 71: "EM24-DIN AV2", 72: "EM24-DIN AV5", 73: "EM24-DIN AV6"},
            ),
            proof=_GAVAZZI_PROOF,
            serial=(4, Span(0x1300, 7)),
            setting=Setting(0x1101, 7, "application H", _SIGNED),
            longer={0x003E: 3, 0x0042: 3, 0x005C: 3},
        ),
        Model(
            name="em24_e1",
            title="Carlo Gavazzi EM24 with Ethernet",
            function=4,
            order="low_first",
            values=_GAVAZZI_POWER
            | {"import_kwh": Register(0x0034, "int32", 10), "export_kwh": Register(0x004E, "int32", 10)},
            identity=Identity(
                4,
                Span(0x000B, 1),
                {
                    1648: "EM24DINAV23XE1X",
                    1649: "EM24DINAV23XE1PFA",
                    1650: "EM24DINAV23XE1PFB",
                    1651: "EM24DINAV53XE1X",
                    1652: "EM24DINAV53XE1PFA",
                    1653: "EM24DINAV53XE1PFB",
                },
            ),
            proof=_GAVAZZI_PROOF,
            serial=(4, Span(0x5000, 7)),
            setting=Setting(0xA000, 7, "application H", _SIGNED),
        ),
    )
}


def decode(words: Sequence[int], register: Register, order: WordOrder) -> float | None:
    """The value of exactly ``register.words`` registers. None where the meter says that it has none.

    That is NaN or infinity, and the integers that stand for "not available" or "overflow": the greatest of each type, and
    the least of a signed one.
    """
    if len(words) != register.words:
        raise ValueError(f"{len(words)} registers given, {register.kind} takes {register.words}")
    ordered = words if order == "high_first" else list(reversed(words))
    packed = struct.pack(f">{len(ordered)}H", *ordered)
    raw: float = struct.unpack(_FORMAT[register.kind], packed)[0]
    if packed in _absent(register.kind, len(packed)) or not isfinite(raw):
        return None
    return raw / register.per_unit + register.offset


def _absent(kind: RegisterType, length: int) -> tuple[bytes, ...]:
    if kind.startswith("float"):
        return ()
    if kind.startswith("uint"):
        return (b"\xff" * length,)
    return (b"\x7f" + b"\xff" * (length - 1), b"\x80" + b"\x00" * (length - 1))


def spans(registers: Iterable[Register], reach: int = 0, longer: Mapping[int, int] | None = None) -> tuple[Span, ...]:
    """Requests that cover ``registers``, ascending: joined where at most ``reach`` unused ones lie between."""
    found: list[Span] = []
    for register in sorted(set(registers), key=lambda r: (r.address, r.words)):
        end = register.address + register.words
        if found:
            last = found[-1]
            joined = max(last.words, end - last.address)
            if register.address - (last.address + last.words) <= reach and joined <= MAX_WORDS:
                found[-1] = Span(last.address, joined)
                continue
        found.append(Span(register.address, register.words))
    least = longer or {}
    return tuple(Span(span.address, max(span.words, least.get(span.address, 0))) for span in found)


def cut(span: Span, words: Sequence[int], register: Register) -> Sequence[int]:
    """The words of ``register`` out of those of a span that covers it."""
    first = register.address - span.address
    return words[first : first + register.words]


def covers(span: Span, register: Register) -> bool:
    """Whether all of ``register`` lies in ``span``."""
    return span.address <= register.address and register.address + register.words <= span.address + span.words


def text_of(words: Sequence[int]) -> str:
    """Registers as text, two characters each, up to the first NUL; what does not print becomes "?"."""
    raw = struct.pack(f">{len(words)}H", *words).split(b"\0")[0]
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in raw.decode("latin-1")).strip()


def refuse_identity(model: Model, words: Sequence[int] | None) -> Refusal | None:
    """Whether a meter is one that ``model`` is the map of. ``words``: its identity registers, None if it has none."""
    identity = model.identity
    if identity is None or (words is None and not identity.needed):
        return None
    where = f"register {identity.span.address:#06x} (function {identity.function})"
    if words is None:
        return Refusal("identity", f"it has no {where}, where a {model.title} says which it is; {_known()}")
    said: int | str = words[0] if identity.span.words == 1 else text_of(words)
    if said in identity.known:
        return None
    names = ", ".join(f"{_quoted(code)} ({name})" for code, name in identity.known.items())
    text = f"{where} says {_quoted(said)}; a {model.title} says {names}"
    for other in MODELS.values():
        same_place = other.identity is not None and other.identity.span == identity.span
        if other.identity is not None and same_place and said in other.identity.known:
            mend = f'that is a {other.title}: write model = "{other.name}"'
            return Refusal("identity", f"{text}; {mend}")
    return Refusal("identity", f"{text}; {_known()}")


def refuse_proof(proof: Proof, words: Sequence[int], order: WordOrder, *, identified: bool) -> Refusal | None:
    """Whether a value of known size comes out as it must with this word order.

    All zeros, as on a dead line, prove no order; they pass where the meter is ``identified`` otherwise.
    """
    if identified and not any(words):
        return None
    value = decode(words, proof.register, order)
    if value is not None and proof.low <= value <= proof.high:
        return None
    other = decode(words, proof.register, _OTHER_ORDER[order])
    read = f"{proof.name} at {proof.register.address:#06x} reads {value if value is None else format(value, '.7g')}"
    if proof.register.words > 1 and other is not None and proof.low <= other <= proof.high:
        mend = f'write word_order = "{_OTHER_ORDER[order]}"'
        return Refusal("word_order", f"{read}, with the words the other way round {other:.7g}; {mend}")
    return Refusal("implausible", f"{read}, outside {proof.low:g} to {proof.high:g}; is it this model?")


def overlapping(registers: Iterable[Register]) -> tuple[Register, Register] | None:
    """Two registers that share an address, if any do: a mistake in a map."""
    ordered = sorted(registers, key=lambda r: r.address)
    return next(((a, b) for a, b in pairwise(ordered) if b.address < a.address + a.words), None)


def _known() -> str:
    return f'known models are {", ".join(sorted(MODELS))}; any other meter can be read with model = "registers"'


def _quoted(code: int | str) -> str:
    return f"{code} ({code:#06x})" if isinstance(code, int) else repr(code)
