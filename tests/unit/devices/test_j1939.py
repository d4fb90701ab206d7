"""Frames to values: positions and scales of the FMS-Standard, codes that are no value, and who is believed."""

import pytest

from devices.counters import Counters
from devices.j1939 import BY_NUMBER, GIVES, SPNS, Batch, Decoder, Spn
from devices.signals import BY_NAME

HVESS, ENGINE, CLUSTER, TACHO = 0x5B, 0x00, 0x17, 0xEE


def frame(pgn: int, data: str, sender: int = ENGINE, priority: int = 6) -> tuple[int, bytes]:
    return priority << 26 | pgn << 8 | sender, bytes.fromhex(data)


def decode(*frames: tuple[int, bytes], decoder: Decoder | None = None, at_s: float = 0.0) -> Batch:
    return (decoder or Decoder(Counters())).decode_many(frames, at_s)


@pytest.mark.parametrize(
    ("pgn", "data", "spn", "value"),
    [  # bytes written down from the FMS-Standard's layout; all others not available
        (0xFEF2, "E803FFFFFFFFFFFF", 183, 50.0),  # 1000 x 0.05 L/h
        (0xFD09, "FFFFFFFF40E20100", 5054, 123.456),
        (0xFEE9, "FFFFFFFF01000000", 250, 0.5),
        (0xFEAF, "FFFFFFFF0A000000", 1040, 5.0),
        (0xFE6C, "FFFFFFFFFFFF0050", 1624, 80.0),
        (0xFEF1, "FF0050FFFFFFFFFF", 84, 80.0),
        (0xFEC1, "40420F00FFFFFFFF", 917, 5_000_000.0),
        (0xFEE0, "FFFFFFFF08000000", 245, 1000.0),
        (0xFE70, "FFFFA00FFFFFFFFF", 1760, 40_000.0),
        (0xFEEA, "00FFFFFFFF8813FF", 181, 10_000.0),
        (0xF004, "FFFF7DE02EFFFFFF", 513, 0.0),
        (0xF004, "FFFF7DE02EFFFFFF", 190, 1500.0),
        (0xF003, "FFFF64FFFFFFFFFF", 92, 100.0),
        (0xFEF5, "CAFFFF8024FFFFFF", 171, 19.0),
        (0xFEF5, "CAFFFF8024FFFFFF", 108, 101.0),
        (0xFEFC, "FF7DFFFFFFFFFFFF", 96, 50.0),
        (0xFCB7, "409CFFFFFFFFFFFF", 5464, 100.0),
        (0xF090, "FFFFFFFF803E407E", 5919, 800.0),
        (0xF090, "FFFFFFFF803E407E", 5920, 16.0),
        (0xF091, "007DFFFFFFFFFFFF", 5921, 50.0),
    ],
)
def test_values_of_single_frames(pgn: int, data: str, spn: int, value: float) -> None:
    assert decode(frame(pgn, data)).values[spn] == pytest.approx(value, rel=1e-12)


def test_axle_weight_is_kept_by_location() -> None:
    frames = [frame(0xFEEA, "00204EFFFFFFFFFF", 0x2F), frame(0xFEEA, "10401FFFFFFFFFFF", 0x2F)]
    assert decode(*frames).axles == {0x00: 10_000.0, 0x10: 4_000.0}


@pytest.mark.parametrize("spn", [s for s in SPNS if s.first + s.size <= 8], ids=lambda spn: str(spn.number))
@pytest.mark.parametrize(
    ("top", "reason"),
    [(0xFB, "reserved"), (0xFC, "reserved"), (0xFD, "reserved"), (0xFE, "error"), (0xFF, "not_available")],
)
def test_codes_that_are_no_value_never_become_one(spn: Spn, top: int, reason: str) -> None:
    number, pgn, first, size = spn[:4]
    counters = Counters()
    for low in (0x00, 0x55, 0xFF):
        data = bytearray(b"\x00" + b"\xff" * 7)
        data[first : first + size] = bytes([low] * (size - 1) + [top])
        batch = Decoder(counters).decode_many([(pgn << 8, bytes(data))], 0.0)
        assert number not in batch.values
        assert not batch.axles
    assert counters.by_label("can_raw_unusable")[f"{number} {reason}"] == 3


@pytest.mark.parametrize("spn", [183, 5054, 250, 1040, 1624, 84, 1760, 190, 513], ids=str)
def test_the_highest_code_that_is_a_value_fits_the_signal(spn: int) -> None:
    number, pgn, first, size = BY_NUMBER[spn][:4]
    data = bytearray(8)
    data[first : first + size] = b"\xff" * (size - 1) + b"\xfa"
    value = decode((pgn << 8, bytes(data))).values[number]
    (signal,) = [name for name, spns in GIVES.items() if spn in spns]
    assert value is not None
    assert value <= BY_NAME[signal].high + BY_NAME[signal].step, "else the gateway would drop what the bus can say"


def test_every_signal_named_is_a_signal_and_every_spn_serves_one() -> None:
    assert set(GIVES) <= set(BY_NAME)
    used = {spn for spns in GIVES.values() for spn in spns} | {582, 5919, 5920, 544}
    assert used == set(BY_NUMBER)


def test_byte_order_is_little_endian() -> None:
    assert decode(frame(0xFEF2, "0100FFFFFFFFFFFF")).values == {183: 0.05}
    assert decode(frame(0xFEF2, "0001FFFFFFFFFFFF")).values == {183: 12.8}


def test_a_frame_that_ends_early_gives_what_it_has() -> None:
    counters = Counters()
    batch = Decoder(counters).decode_many([frame(0xF004, "FFFF7DE0"), frame(0xFEF2, ""), frame(0xFEEA, "")], 0.0)
    assert batch.values == {513: 0.0}
    assert counters.by_label("can_frame_short") == {"190": 1, "183": 1, "928": 1}


def test_unknown_groups_are_counted_and_ignored() -> None:
    counters = Counters()
    others = [
        0x1FEF2,
        0x2FEF2,
        0xFECA,
        0xEF00,
        0xFEE3,
        0xFEEC,
    ]  # other pages, DM1, proprietary; EC1 and VI need packets
    frames = [frame(pgn, "0000000000000000") for pgn in others]
    assert Decoder(counters).decode_many(frames, 0.0) == Batch()
    assert counters.snapshot() == {"can_frames": 6, "can_pgn_unknown": 6}


def test_priority_does_not_matter() -> None:
    assert decode(frame(0xFEF2, "E803FFFFFFFFFFFF", priority=3)).values == {183: 50.0}


def test_the_newest_of_a_batch_counts() -> None:
    frames = [frame(0xFEF2, "E803FFFFFFFFFFFF"), frame(0xFEF2, "0A00FFFFFFFFFFFF")]
    assert decode(*frames).values == {183: 0.5}


def test_the_first_sender_of_a_valid_value_is_believed() -> None:
    counters = Counters()
    decoder = Decoder(counters)
    nothing, one, two = "FFFFFFFFFFFFFFFF", "01000000FFFFFFFF", "02000000FFFFFFFF"
    assert decode(frame(0xFEC1, nothing, TACHO), frame(0xFEC1, one, CLUSTER), decoder=decoder).values == {917: 5.0}
    assert decode(frame(0xFEC1, two, TACHO), decoder=decoder, at_s=1).values == {}
    assert decode(frame(0xFEC1, two, CLUSTER), decoder=decoder, at_s=2).values == {917: 10.0}
    assert counters.by_label("can_source_conflict") == {"917": 1}


def test_a_value_taken_back_by_its_sender_is_gone_and_by_another_is_not() -> None:
    decoder = Decoder(Counters())
    speed, error = "FF0050FFFFFFFFFF", "FFFFFEFFFFFFFFFF"
    assert decode(frame(0xFEF1, speed, ENGINE), decoder=decoder).values == {84: 80.0}
    assert decode(frame(0xFEF1, error, CLUSTER), decoder=decoder).values == {}
    assert decode(frame(0xFEF1, error, ENGINE), decoder=decoder).values == {84: None}


def test_a_silent_sender_loses_a_value_but_never_a_counter() -> None:
    decoder = Decoder(Counters())
    speed, distance = "FF0050FFFFFFFFFF", "01000000FFFFFFFF"
    decode(frame(0xFEF1, speed, ENGINE), frame(0xFEC1, distance, TACHO), decoder=decoder)
    later = [frame(0xFEF1, speed, CLUSTER), frame(0xFEC1, distance, CLUSTER)]
    assert decode(*later, decoder=decoder, at_s=60.0).values == {}
    assert decode(*later, decoder=decoder, at_s=60.1).values == {84: 80.0}
    assert decode(*later, decoder=decoder, at_s=1e6).values == {84: 80.0}


def test_axles_of_tractor_and_trailer_may_have_different_senders() -> None:
    counters = Counters()
    decoder = Decoder(counters)
    frames = [frame(0xFEEA, "00204EFFFFFFFFFF", 0x2F), frame(0xFEEA, "20401FFFFFFFFFFF", 0xC8)]
    assert decode(*frames, decoder=decoder).axles == {0x00: 10_000.0, 0x20: 4_000.0}
    assert decode(frame(0xFEEA, "00401FFFFFFFFFFF", 0xC8), decoder=decoder).axles == {}
    assert counters.by_label("can_source_conflict") == {"582": 1}


def test_cargo_weight_missing_from_the_next_axle_s_frame_stays() -> None:
    frames = [frame(0xFEEA, "00204EFFFF8813FF"), frame(0xFEEA, "10401FFFFFFFFFFF")]
    batch = decode(*frames)
    assert batch.values == {181: 10_000.0}


def test_an_axle_without_location_is_no_axle() -> None:
    counters = Counters()
    assert Decoder(counters).decode_many([frame(0xFEEA, "FF204EFFFFFFFFFF")], 0.0).axles == {}
    assert counters.by_label("can_raw_unusable") == {"928 not_available": 1}


def test_noise_on_the_bus_does_not_stop_known_groups() -> None:
    decoder = Decoder(Counters())
    decoder.decode_many([(n << 8, b"") for n in range(20_000)], 0.0)
    assert len(decoder._routes) < 5000, "memory is bounded"
    assert decode(frame(0xFEF2, "E803FFFFFFFFFFFF"), decoder=decoder).values == {183: 50.0}


def packets(pgn: int, payload: bytes, destination: int = 0xFF, sender: int = ENGINE) -> list[tuple[int, bytes]]:
    """A multi-packet message as J1939-21 has it."""
    n = -(-len(payload) // 7)
    control = 0x20 if destination == 0xFF else 0x10
    limit = b"\xff"
    head = bytes([control]) + len(payload).to_bytes(2, "little") + bytes([n]) + limit + pgn.to_bytes(3, "little")
    filled = payload.ljust(7 * n, b"\xff")
    data = [bytes([i + 1]) + filled[7 * i : 7 * i + 7] for i in range(n)]
    low = destination << 8 | sender
    return [(0x1CEC0000 | low, head), *((0x1CEB0000 | low, d) for d in data)]


@pytest.mark.parametrize("destination", [0xFF, 0xF9])
def test_vin_broadcast_or_told_to_another(destination: int) -> None:
    assert decode(*packets(0xFEEC, b"WDB9634031L123456*", destination)).vin == "WDB9634031L123456"


@pytest.mark.parametrize("text", [b"*********", b"WDB9634031L12345I*", b"\xff" * 18, b"WDB9634031*", b"\x00" * 20])
def test_what_is_no_vin_is_counted(text: bytes) -> None:
    counters = Counters()
    assert Decoder(counters).decode_many(packets(0xFEEC, text), 0.0).vin == ""
    assert counters["can_vin_unreadable"] == 1


@pytest.mark.parametrize(
    ("raw", "torque_nm"), [(b"\xc4\x09", 2500.0), (b"\xff\xff", None), (b"\x00\xfb", None), (b"\xff\xfa", 64_255.0)]
)
def test_reference_torque(raw: bytes, torque_nm: float | None) -> None:
    configuration = b"\x11" * 19 + raw + b"\x22" * 18
    assert decode(*packets(0xFEE3, configuration)).values.get(544) == torque_nm


def test_a_short_configuration_has_no_reference_torque() -> None:
    counters = Counters()
    assert Decoder(counters).decode_many(packets(0xFEE3, b"\x11" * 20), 0.0).values == {}
    assert counters.by_label("can_frame_short") == {"544": 1}
