"""Wire v1: what is encoded arrives, and the decoder agrees with a second one, written from the layout, on any bytes."""

import math
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.signals import BY_NAME, SIGNALS
from devices.wire import CLOCK_SOURCES, HEADER, MAX_SEQ, JsonReading, Sample, encode_batch
from ingest.decode import BadCell, Decoded, Message, decode
from ingest.message import MAX_BAD_CELLS

DEVICE = "truck-001"
TOPIC = f"fleet/v1/acme/{DEVICE}/up/readings"
RECEIVED_NS = 2**62
SCALES = {s.number: Fraction(1 / s.step).limit_denominator(10**8) for s in SIGNALS}
BY_NUMBER = {s.number: s for s in SIGNALS}


def run(*payloads: bytes, topic: str = TOPIC) -> Decoded:
    messages = [Message(topic, payload, RECEIVED_NS) for payload in payloads]
    return decode(messages, {DEVICE: 0}, ["acme"], earliest_ns=-(2**63))


class WrongError(Exception):
    """The reference decoder refuses a body."""


def reference(body: bytes, n: int, columns: int) -> dict[int, list[int | None]]:
    """Raw integers by column number, modulo 2^64, as the layout in ``devices.wire`` says. Shares no code with it."""
    rest = memoryview(body)
    found: dict[int, list[int | None]] = {}
    previous = -1

    def take(count: int) -> bytes:
        nonlocal rest
        if count > len(rest):
            raise WrongError
        taken, rest = bytes(rest[:count]), rest[count:]
        return taken

    def varint() -> int:
        value = 0
        for k in range(10):
            (byte,) = take(1)
            value |= (byte & 127) << (7 * k)
            if byte < 128:
                return unzigzag(value % 2**64)
        raise WrongError

    for _ in range(columns):
        number, descriptor = take(2)
        if number <= previous:
            raise WrongError
        previous = number
        known = number in BY_NUMBER or number < 2
        if descriptor & 128:
            if descriptor != 128 or known:
                raise WrongError
            take(int.from_bytes(take(4), "little"))
            continue
        width, order = (descriptor & 7) + 1, descriptor >> 3 & 3
        if descriptor & 64 or (order == 3 and width != 1):
            raise WrongError
        rows = list(range(n))
        if descriptor & 32:
            bits = int.from_bytes(take(-(-n // 8)), "little")
            rows = [i for i in range(n) if not bits >> i & 1]
            if number < 2 or bits >> n or not 0 < len(rows) < n:
                raise WrongError
        first = [varint() for _ in range((0, 1, 2, 1)[order])]
        count = 0 if order == 3 else len(rows) - order
        if count < 0:
            raise WrongError
        planes = [take(count) for _ in range(width)]
        values = [unzigzag(int.from_bytes(bytes(p[i] for p in planes), "little")) for i in range(count)]
        if order == 3:
            values = first * len(rows)
        if order == 2:
            values = summed(first[1], values)
        if order in (1, 2):
            values = summed(first[0], values)
        found[number] = [None] * n
        for i, value in zip(rows, values, strict=True):
            found[number][i] = wrapped(value)
    if rest or 1 not in found:
        raise WrongError
    return found


def summed(first: int, differences: list[int]) -> list[int]:
    return [first + sum(differences[:i]) for i in range(len(differences) + 1)]


def unzigzag(value: int) -> int:
    return -(value + 1) // 2 if value % 2 else value // 2


def wrapped(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63


def packed(body: bytes, n: int, columns: int, covered: int) -> bytes:
    name = DEVICE.encode()
    header = HEADER.pack(b"FC", 1, 0, HEADER.size + len(name), n, 1, 0, covered, 0, 0, columns, 0, len(name))
    return header + name + zstandard.ZstdCompressor(level=1, write_checksum=True).compress(body)


def assert_agrees(body: bytes, n: int, columns: int, covered: int) -> None:
    """The decoder gives what the reference gives, or refuses what it refuses."""
    decoded = run(packed(body, n, columns, covered))
    try:
        raw = reference(body, n, columns)
    except WrongError:
        assert [r.reason for r in decoded.rejected] == ["bad_column"]
        return
    merged = [m or 0 for m in raw.get(0, [1] * n)]
    if min(merged) < 1 or max(merged) >= 2**31 or sum(merged) != covered:
        assert [r.reason for r in decoded.rejected] == ["bad_column"]
        return
    assert_values(decoded, {k: v for k, v in raw.items() if k in BY_NUMBER}, n)
    if not decoded.rejected:
        assert decoded.columns["merged"].tolist() == merged
        assert decoded.columns["seq"].tolist() == [sum(merged[: i + 1]) - 1 for i in range(n)]


def assert_values(decoded: Decoded, raw: dict[int, list[int | None]], n: int) -> None:
    bad: set[tuple[int, str]] = set()
    expected: dict[str, list[float]] = {}
    for number, cells in raw.items():
        s = BY_NUMBER[number]
        low, high = round(Fraction(s.low) * SCALES[number]), round(Fraction(s.high) * SCALES[number])
        bad |= {(i, s.name) for i, c in enumerate(cells) if c is not None and not low <= c <= high}
        expected[s.name] = [math.nan if c is None or not low <= c <= high else float(c / SCALES[number]) for c in cells]
    if len(bad) > MAX_BAD_CELLS:
        assert [r.reason for r in decoded.rejected] == ["out_of_range"]
        return
    assert decoded.rejected == []
    assert decoded.n == n
    for s in SIGNALS:
        np.testing.assert_array_equal(decoded.columns[s.name], expected.get(s.name, [math.nan] * n), err_msg=s.name)
    reported = [b for b in decoded.bad_rows if isinstance(b, BadCell)]
    seqs = decoded.columns["seq"].tolist()
    assert {(seqs.index(b.seq), b.signal) for b in reported} == bad
    assert len(reported) == len(bad)


@st.composite
def sample_lists(draw: st.DrawFn) -> list[Sample]:
    names = draw(st.lists(st.sampled_from(sorted(BY_NAME)), max_size=6, unique=True))
    walks = draw(st.booleans())
    samples = []
    now = draw(st.integers(-(2**61), 2**61))
    last = {name: draw(st.floats(BY_NAME[name].low, BY_NAME[name].high)) for name in names}
    for _ in range(draw(st.integers(1, 30))):
        now += draw(st.integers(-(10**10), 10**12))
        present = [name for name in names if draw(st.integers(0, 9))]
        for name in present:
            s = BY_NAME[name]
            value = last[name] + draw(st.integers(-300, 300)) * s.step if walks else draw(st.floats(s.low, s.high))
            last[name] = min(max(value, s.low), s.high)
        samples.append(
            Sample(now, {k: last[k] for k in present}, draw(st.sampled_from([1, 1, 1, 1, 2, 60, 2**31 - 1])))
        )
    while sum(s.merged for s in samples) >= 2**32:
        samples.pop()
    return samples


# the first call compiles
@given(
    sample_lists(),
    st.integers(1, 2**63 - 1),
    st.integers(0, MAX_SEQ),
    st.booleans(),
    st.sampled_from(CLOCK_SOURCES),
    st.integers(-1, 2**31 - 1),
)
def test_what_is_encoded_arrives(
    samples: list[Sample], boot_id: int, seq0: int, historical: bool, clock_source: Any, clock_error_ms: int
) -> None:
    payload = encode_batch(
        DEVICE,
        boot_id,
        seq0,
        samples,
        historical=historical,
        clock_source=clock_source,
        clock_error_ms=clock_error_ms,
    )
    decoded = run(payload)
    assert (decoded.rejected, decoded.bad_rows, decoded.n) == ([], [], len(samples))
    columns = decoded.columns
    assert columns["time_ns"].tolist() == [s.time_ns // 10**6 * 10**6 for s in samples]
    assert columns["merged"].tolist() == [s.merged for s in samples]
    newest = [seq0 + sum(s.merged for s in samples[: i + 1]) - 1 for i in range(len(samples))]
    assert columns["seq"].tolist() == newest
    assert set(columns["boot_id"].tolist()) == {boot_id}
    assert set(columns["historical"].tolist()) == {historical}
    assert set(columns["clock_source"].tolist()) == {CLOCK_SOURCES.index(clock_source)}
    assert set(columns["clock_error_ms"].tolist()) == {clock_error_ms}
    for s in SIGNALS:
        for got, sample in zip(columns[s.name].tolist(), samples, strict=True):
            if s.name not in sample.values:
                assert math.isnan(got)
                continue
            steps = got * SCALES[s.number]
            assert abs(steps - round(steps)) < 1e-3, "not a whole number of steps"
            assert abs(got - sample.values[s.name]) <= s.step / 2 + 1e-9 * abs(got)


@given(sample_lists())
def test_encoding_what_was_decoded_changes_nothing(samples: list[Sample]) -> None:
    once = run(encode_batch(DEVICE, 1, 0, samples)).columns
    again = [
        Sample(t, {s.name: v for s in SIGNALS if not math.isnan(v := float(once[s.name][i]))}, m)
        for i, (t, m) in enumerate(zip(once["time_ns"].tolist(), once["merged"].tolist(), strict=True))
    ]
    inside = [all(BY_NAME[k].low <= v <= BY_NAME[k].high for k, v in s.values.items()) for s in again]
    if all(inside):  # half a step beyond a range is read, not written
        twice = run(encode_batch(DEVICE, 1, 0, again)).columns
        for name, column in once.items():
            np.testing.assert_array_equal(twice[name], column, err_msg=name)


@st.composite
def blocks(draw: st.DrawFn, n: int, number: int) -> bytes:
    """One block, mostly of the right length."""
    order, width = draw(st.integers(0, 3)), draw(st.integers(1, 8))
    width = 1 if order == 3 else width
    nulls = number > 1 and n > 1 and draw(st.booleans())
    bitmap, present = b"", n
    if nulls:
        bits = draw(st.integers(1, 2**n - 2))
        bitmap, present = bits.to_bytes((n + 7) // 8, "little"), n - bits.bit_count()
    count = 0 if order == 3 else max(0, present - order)
    bases = b"".join(
        draw(st.sampled_from([b"\0", b"\1", b"\xd0\x0f", b"\xff" * 9 + b"\1", b"\xfe" * 9 + b"\1"]))
        for _ in range((0, 1, 2, 1)[order])
    )
    planes = draw(st.binary(min_size=count, max_size=count)) + bytes(count * (width - 1))
    if draw(st.booleans()):
        planes = draw(st.binary(min_size=count * width, max_size=count * width))
    return bytes((number, 32 * nulls | order << 3 | width - 1)) + bitmap + bases + planes


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, int, int]:
    n = draw(st.integers(1, 20))
    numbers = draw(st.sets(st.sampled_from([0, 2, 7, 8, 9, 13, 22, 49, 100, 255]), max_size=4)) | {1}
    body = b"".join(draw(blocks(n, number)) for number in sorted(numbers))
    return body, n, len(numbers)


@settings(max_examples=300)
@given(bodies(), st.integers(1, 50))
def test_any_block_is_read_as_the_layout_says(made: tuple[bytes, int, int], covered: int) -> None:
    body, n, columns = made
    assert_agrees(body, n, columns, max(covered, n))


@settings(max_examples=300)
@given(bodies(), st.data())
def test_a_damaged_body_is_refused_or_read_as_the_layout_says(
    made: tuple[bytes, int, int], data: st.DataObject
) -> None:
    body, n, columns = made
    damaged = bytearray(body)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(body)))
    assert_agrees(bytes(damaged), n, columns, n)
    assert_agrees(bytes(damaged[:cut]), n, columns, n)
    assert_agrees(bytes(damaged) + body[:cut], n, columns, n)


TRIP = [Sample(i * 10**9, {"speed_kmh": 20.0 + i, "switches": 1.0}) for i in range(40)]
GOOD = {
    "up/readings": encode_batch(DEVICE, 1, 0, TRIP),
    "up/json": msgspec.json.encode(JsonReading(device=DEVICE, boot_id=1, seq=0, time_ns=0, signals={"speed_kmh": 1.0})),
}


@settings(max_examples=300)
@given(st.sampled_from(sorted(GOOD)), st.sampled_from(sorted(GOOD)), st.data())
def test_any_payload_leaves_the_others_alone(leaf: str, model: str, data: st.DataObject) -> None:
    """Random bytes, and good payloads with a byte or a run of bytes replaced or cut."""
    at = data.draw(st.integers(0, len(GOOD[model])))
    cut = data.draw(st.sampled_from([0, 1, 1, 1, 5, 1000]))
    payload = GOOD[model][:at] + data.draw(st.binary(max_size=20)) + GOOD[model][at + cut :]
    good = Message(TOPIC, GOOD["up/readings"], RECEIVED_NS)
    hostile = Message(f"fleet/v1/acme/{DEVICE}/{leaf}", payload, RECEIVED_NS)
    decoded = decode([good, hostile, good], {DEVICE: 0}, ["acme"], earliest_ns=0)
    assert len(decoded.rejected) + (decoded.n > 80) == 1
    assert decoded.columns["speed_kmh"][:40].tolist() == [20.0 + i for i in range(40)]
    assert decoded.columns["speed_kmh"][-40:].tolist() == [20.0 + i for i in range(40)]
