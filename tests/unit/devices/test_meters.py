"""Register maps against published ones, registers to values, and what a meter must show before it is believed."""

import csv
import io
import re
import struct
import tarfile

import pytest

from devices.counter_guard import AGREE, CounterGuard
from devices.meters import (
    MODELS,
    Proof,
    Register,
    Span,
    covers,
    cut,
    decode,
    overlapping,
    refuse_identity,
    refuse_proof,
    spans,
    text_of,
)
from devices.signals import BY_NAME
from tests.support import SHARED

MAPS = SHARED / "data" / "modbus_maps"
needs_maps = pytest.mark.skipif(not MAPS.is_dir(), reason="../shared/data/modbus_maps is not there")
VOLTS = Proof(Register(0, "int32", 10), 1, 500_000, "voltage L1-N [V]")


def member(archive: str, path: str) -> str:
    with tarfile.open(MAPS / archive) as tar:
        file = tar.extractfile(path)
        assert file is not None
        return file.read().decode()


def modpoll(path: str) -> dict[str, tuple[str, str, int, str, str]]:
    """Name -> (registers, byte order, address, type, unit) of a modpoll map."""
    found = {}
    bank = order = ""
    for row in csv.reader(io.StringIO(member("modpoll_maps.tar.xz", path))):
        cells = [c.strip() for c in row]
        if cells and cells[0] == "poll":
            bank, order = cells[1], cells[4]
        elif cells and cells[0] == "ref":
            found[cells[1]] = (bank, order, int(cells[2]), cells[3], cells[5] if len(cells) > 5 else "")
    return found


@needs_maps
def test_the_sdm_map_is_that_of_modpoll() -> None:
    """Eastron's SDM72 and SDM120 have the SDM630's addresses for what is read here."""
    ours = MODELS["sdm630"]
    assert ours.proof is not None
    three_phase = modpoll("modpoll/contrib/eastron/SDM72D-M.csv")
    for theirs, register, unit in (
        ("TOTAL_SYSTEM_POWER", ours.values["power_kw"], "W"),
        ("IMPORT_ACTIVE_ENERGY", ours.values["import_kwh"], "kWh"),
        ("EXPORT_ACTIVE_ENERGY", ours.values["export_kwh"], "kWh"),
        ("FREQUENCY_OF_SUPPLY_VOLTAGES", ours.proof.register, "Hz"),
    ):
        assert three_phase[theirs] == ("input_register", "BE_BE", register.address, register.kind, unit)
    single_phase = modpoll("modpoll/contrib/eastron/SDM120M.csv")
    for theirs, quantity in (("import_energy_active", "import_kwh"), ("export_energy_active", "export_kwh")):
        assert single_phase[theirs][2:4] == (ours.values[quantity].address, "float32")
    assert ours.function == 4
    assert ours.order == "high_first"
    assert ours.values["power_kw"].per_unit == 1000


@needs_maps
def test_the_sdm_map_is_that_of_evcc() -> None:
    text = member("evcc_meter_templates.tar.xz", "evcc/templates/definition/meter/eastron-sdm120.yaml")
    addresses = {int(hexadecimal, 16): what for hexadecimal, what in re.findall(r"address: (0x\w+) # (.+)", text)}
    assert addresses[MODELS["sdm630"].values["import_kwh"].address] == "Import active energy"
    assert addresses[MODELS["sdm630"].values["export_kwh"].address] == "Export active energy"
    assert set(re.findall(r"type: (input|holding)\n\s+decode: (\w+)", text)) == {("input", "float32")}


@needs_maps
@pytest.mark.parametrize(
    ("model", "template", "line"),
    [
        ("sdm630", "eastron-sdm72v2_630", "rs485"),
        ("iem3155", "schneider-iem3000", "rs485"),
        ("em24", "cg-em24", "rs485"),
        ("em24_e1", "cg-em24_e1", "tcpip"),
    ],
)
def test_every_model_is_one_that_evcc_knows_too(model: str, template: str, line: str) -> None:
    """evcc gives the line and the quantities; the addresses stand in a library that its templates name."""
    text = member("evcc_meter_templates.tar.xz", f"evcc/templates/definition/meter/{template}.yaml")
    assert f'choice: ["{line}"]' in text
    assert {"power_kw", "import_kwh", "export_kwh"} <= set(MODELS[model].values)
    if model.startswith("em24"):
        assert "incompatible" in text or "not compatible" in text  # hence the identity register of both


@needs_maps
def test_other_meters_of_the_collection_can_be_given_by_their_registers() -> None:
    temperature = modpoll("modpoll/contrib/xy/xy-md02.csv")["Temperature"]
    assert temperature[2:4] == (1, "int16")
    assert decode([0xFF9C], Register(1, "int16", 10), "high_first") == -10.0


@pytest.mark.parametrize(
    ("words", "register", "order", "value"),
    [
        ([0x4366, 0x3334], Register(0, "float32"), "high_first", 230.2),  # Eastron's manual: 43 66 33 34 = 230.2 V
        ([0x3334, 0x4366], Register(0, "float32"), "low_first", 230.2),
        ([46_143, 150], Register(0, "int32", 10), "low_first", 987_654.3),
        ([150, 46_143], Register(0, "int32", 10), "low_first", -127_093_949.8),  # the trap, undetected by decoding
        ([0xFFFF, 0xFFFE], Register(0, "int32"), "high_first", -2),
        ([0, 0, 0x3ADE, 0x68B1], Register(0, "int64", 1000), "high_first", 987_654.321),
        ([0x68B1, 0x3ADE, 0, 0], Register(0, "uint64", 1000), "low_first", 987_654.321),
        ([0xFFCE], Register(0, "int16", 10), "high_first", -5.0),
        ([0xFFCE], Register(0, "uint16"), "high_first", 65_486),
        ([0x3FF0, 0, 0, 0], Register(0, "float64"), "high_first", 1.0),
        ([300], Register(0, "uint16", 10, -273.15), "high_first", -243.15),
        ([0x7FC0, 0], Register(0, "float32"), "high_first", None),  # NaN
        ([0xFFC0, 0], Register(0, "float32"), "high_first", None),
        ([0x7F80, 0], Register(0, "float32"), "high_first", None),  # infinity
        ([0xFFFF, 0x7FFF], Register(0, "int32"), "low_first", None),  # Gavazzi: overflow
        ([0x8000, 0, 0, 0], Register(0, "int64"), "high_first", None),  # Schneider: not available
        ([0xFFFF], Register(0, "uint16"), "high_first", None),
        ([0x7FFF], Register(0, "uint16"), "high_first", 32_767),
        ([0xFFFF], Register(0, "int16"), "high_first", -1),
    ],
)
def test_registers_to_values(words: list[int], register: Register, order: str, value: float | None) -> None:
    got = decode(words, register, order)  # type: ignore[arg-type]
    assert got == (None if value is None else pytest.approx(value, rel=1e-7))


def test_a_wrong_number_of_registers_is_our_mistake() -> None:
    with pytest.raises(ValueError, match="takes 2"):
        decode([1], Register(0, "int32"), "high_first")


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda m: m.name)
def test_a_map_is_sound(model: object) -> None:
    assert model in MODELS.values()
    m = MODELS[model.name]  # type: ignore[attr-defined]
    assert overlapping(m.values.values()) is None
    requests = spans(m.values.values(), m.reach, m.longer)
    for register in m.values.values():
        assert sum(covers(span, register) for span in requests) == 1
    assert all(1 <= span.words <= 125 for span in requests)  # the protocol's limit
    for quantity in m.values:
        assert any(name.endswith("_" + quantity.rpartition("_")[2]) for name in BY_NAME)
    power = next(span for span in requests if covers(span, m.values["power_kw"]))
    energy = [span for span in requests if not covers(span, m.values["power_kw"])]
    if m.name in ("em24", "iem3155"):  # on RTU a late answer must not pass for another's
        assert all(span.words != power.words for span in energy)


def test_requests_are_joined_within_reach_only() -> None:
    near, far = Register(10, "int32"), Register(14, "float32")
    assert spans([far, near], reach=2) == (Span(10, 6),)
    assert spans([far, near], reach=1) == (Span(10, 2), Span(14, 2))
    assert spans([near, near]) == (Span(10, 2),)
    assert spans([near, Register(70, "int16")], reach=1000) == (Span(10, 2), Span(70, 1))  # 61 words are too many
    assert cut(Span(10, 6), [1, 2, 3, 4, 5, 6], far) == [5, 6]


def test_overlapping_registers_are_found() -> None:
    assert overlapping([Register(3, "int16"), Register(0, "int64")]) is not None
    assert overlapping([Register(4, "int16"), Register(0, "int64")]) is None
    assert overlapping([Register(4, "int16"), Register(4, "int16")]) is not None


def test_the_voltage_tells_the_word_order() -> None:
    assert refuse_proof(VOLTS, [2299, 0], "low_first", identified=True) is None
    wrong = refuse_proof(VOLTS, [2299, 0], "high_first", identified=True)
    assert wrong is not None
    assert wrong.reason == "word_order"
    assert "reads 1.506673e+07, with the words the other way round 229.9" in wrong.text
    neither = refuse_proof(VOLTS, [0x8001, 0x8001], "high_first", identified=True)
    assert neither is not None
    assert neither.reason == "implausible"


def test_a_dead_line_proves_nothing_so_something_else_must() -> None:
    assert refuse_proof(VOLTS, [0, 0], "low_first", identified=True) is None
    assert refuse_proof(VOLTS, [0, 0], "low_first", identified=False) is not None


@pytest.mark.parametrize("volts", [100.0, 229.9, 400.0, 11_000.0, 110_000.0])
def test_no_usual_voltage_is_plausible_with_its_words_swapped(volts: float) -> None:
    words = struct.unpack(">2H", struct.pack(">i", round(volts * 10)))
    assert refuse_proof(VOLTS, words, "high_first", identified=True) is None
    swapped = refuse_proof(VOLTS, words[::-1], "high_first", identified=True)
    assert swapped is not None
    assert swapped.reason == "word_order"


def test_a_text_identity_is_read_up_to_its_end() -> None:
    words = struct.unpack(">20H", b"iEM3155\0rest".ljust(40, b"\0"))
    assert text_of(words) == "iEM3155"
    assert text_of([0x41FF, 0x0A42]) == "A??B"
    assert refuse_identity(MODELS["iem3155"], words) is None


def test_a_meter_without_identity_is_refused_only_where_all_of_its_model_have_one() -> None:
    assert refuse_identity(MODELS["sdm630"], None) is None
    refusal = refuse_identity(MODELS["em24"], None)
    assert refusal is not None
    assert "it has no register 0x000b (function 4)" in refusal.text


@pytest.mark.parametrize(
    ("value", "at_s", "judgement"),
    [
        (100.0, 3600, "good"),
        (201.0, 3600, "good"),  # 100 kW for an hour, and one step
        (201.1, 3600, "jumped"),
        (99.9, 3600, "fell"),
        (-0.1, 3600, "below_zero"),
        (1e6 + 1, 1e9, "above_top"),
        (float("nan"), 3600, "not_finite"),
        (float("inf"), 3600, "not_finite"),
        (101.0, -50, "good"),  # the clock went back: one step is possible
        (101.1, -50, "jumped"),
    ],
)
def test_a_counter_rises_as_fast_as_it_can_and_no_faster(value: float, at_s: float, judgement: str) -> None:
    guard = CounterGuard(per_h=100, top=1e6)
    assert guard.judge(100.0, 0.0) == "good"
    assert guard.judge(value, at_s) == judgement


def test_a_first_reading_that_cannot_be_is_no_anchor() -> None:
    guard = CounterGuard(per_h=100, top=1e6)
    assert guard.judge(-127_093_949.8, 0) == "below_zero"
    assert guard.judge(214_748_364.7, 1) == "above_top"
    assert guard.judge(5, 2) == "good"


def test_readings_that_agree_are_taken_up_anew_and_noise_is_not() -> None:
    guard = CounterGuard(per_h=100)
    guard.judge(1000, 0)
    assert [guard.judge(5.0 + i, 60.0 * i) for i in range(AGREE)] == ["fell"] * (AGREE - 1) + ["anew"]
    assert guard.judge(8.0, 60.0 * AGREE) == "good"
    noise = [5e5, 3.0, 7e5, 2.0, 9e5, 1.0]
    assert [guard.judge(v, 60.0 * (AGREE + 1 + i)) for i, v in enumerate(noise)] == ["jumped", "fell"] * 3
    assert guard.judge(9.0, 60.0 * (AGREE + 7)) == "good"


def test_after_an_exchange_the_next_reading_is_the_first() -> None:
    guard = CounterGuard(per_h=100)
    guard.judge(1000, 0)
    guard.forget()
    assert guard.judge(3, 1) == "good"
