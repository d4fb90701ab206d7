"""Whatever a meter, a device or a warehouse system says: no crash, no value that cannot be, no counter that falls unasked."""

import asyncio
import math
import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.config import convert
from devices.counter_guard import GOOD, TICK, CounterGuard
from devices.counters import Counters
from devices.csv_drop import CsvDrop, FolderOptions
from devices.gpio_edges import EdgeCount
from devices.json_values import Document, number_at, read, time_at
from devices.meters import (
    MAX_WORDS,
    MODELS,
    WORDS,
    Register,
    covers,
    cut,
    decode,
    refuse_identity,
    refuse_proof,
    spans,
    text_of,
)
from devices.sources import Context
from devices.wire import Sample
from tests.pace import Pace

words = st.integers(0, 0xFFFF)
kinds = st.sampled_from(sorted(WORDS))
orders = st.sampled_from(["high_first", "low_first"])
registers = st.builds(Register, st.integers(0, 200), kinds)


@given(st.data(), kinds, orders)
def test_any_registers_give_a_finite_number_or_none(data: st.DataObject, kind: str, order: str) -> None:
    register = Register(0, kind, data.draw(st.sampled_from([0.001, 0.1, 1.0, 10.0, 1e6])))  # type: ignore[arg-type]
    value = decode(data.draw(st.lists(words, min_size=register.words, max_size=register.words)), register, order)  # type: ignore[arg-type]
    assert value is None or math.isfinite(value)


@given(st.data(), orders)
def test_numbers_come_back_from_registers_in_either_order(data: st.DataObject, order: str) -> None:
    kind, form, numbers = data.draw(
        st.sampled_from(
            [
                ("int16", "h", st.integers(-(2**15) + 1, 2**15 - 2)),
                ("uint16", "H", st.integers(0, 2**16 - 2)),
                ("int32", "i", st.integers(-(2**31) + 1, 2**31 - 2)),
                ("uint32", "I", st.integers(0, 2**32 - 2)),
                ("int64", "q", st.integers(-(2**53), 2**53)),
                ("float32", "f", st.floats(width=32, allow_nan=False, allow_infinity=False)),
                ("float64", "d", st.floats(allow_nan=False, allow_infinity=False)),
            ]
        )
    )
    number = data.draw(numbers)
    packed = struct.pack(f">{form}", number)
    high_first = struct.unpack(f">{len(packed) // 2}H", packed)
    given_words = high_first if order == "high_first" else high_first[::-1]
    assert decode(given_words, Register(0, kind), order) == number  # type: ignore[arg-type]


@given(st.lists(registers, min_size=1, max_size=20), st.integers(0, 50))
def test_requests_cover_every_register_once_and_are_short_enough(wanted: list[Register], reach: int) -> None:
    requests = spans(wanted, reach)
    for register in wanted:
        holders = [span for span in requests if covers(span, register)]
        assert holders
        assert len(cut(holders[0], range(holders[0].words), register)) == register.words
    assert all(span.words <= MAX_WORDS for span in requests)
    assert [span.address for span in requests] == sorted(span.address for span in requests)


@given(st.data(), st.sampled_from(sorted(MODELS)), orders, st.booleans())
def test_any_identity_and_any_proof_is_judged(data: st.DataObject, name: str, order: str, identified: bool) -> None:
    model = MODELS[name]
    assert model.identity is not None
    assert model.proof is not None
    n = model.identity.span.words
    says = data.draw(st.none() | st.lists(words, min_size=n, max_size=n))
    refusal = refuse_identity(model, says)
    assert refusal is None or refusal.text.isprintable()
    shown = data.draw(st.lists(words, min_size=2, max_size=2))
    mistake = refuse_proof(model.proof, shown, order, identified=identified)  # type: ignore[arg-type]
    value = decode(shown, model.proof.register, order)  # type: ignore[arg-type]
    if mistake is None:
        assert (identified and shown == [0, 0]) or (value is not None and model.proof.low <= value <= model.proof.high)


@given(st.lists(words, max_size=30))
def test_text_of_any_registers_can_be_printed(given_words: list[int]) -> None:
    assert text_of(given_words).isprintable()


@given(
    st.lists(st.tuples(st.floats(), st.floats(0, 100)), max_size=60),
    st.sampled_from([10.0, 1000.0, math.inf]),
)
def test_what_a_guard_lets_pass_rises_as_it_may(readings: list[tuple[float, float]], per_h: float) -> None:
    guard = CounterGuard(per_h=per_h, top=1e8)
    at_s = 0.0
    last: tuple[float, float] | None = None
    for value, later_s in readings:
        at_s += later_s
        judgement = guard.judge(value, at_s)
        if judgement in GOOD:
            assert 0 <= value <= 1e8
            if judgement == "good" and last is not None:
                assert 0 <= value - last[0] <= per_h * (at_s - last[1]) / 3600 * (1 + 1e-9) + TICK or per_h == math.inf
            last = (value, at_s)


@given(st.lists(st.floats(0, 1), max_size=50), st.lists(st.tuples(st.integers(0, 49), st.floats()), max_size=10))
def test_single_wrong_readings_never_cost_a_good_one(rises: list[float], wrong: list[tuple[int, float]]) -> None:
    """Of a counter that rises as it may, each reading passes, whatever single ones are wrong in between."""
    guard = CounterGuard(per_h=3600)
    total, noise = 1e6, {place: value for place, value in wrong if not 1e6 - 10 <= value <= 1e6 + 200}
    assert guard.judge(total, 0) == "good"
    for i, rise in enumerate(rises):
        total += rise
        if i in noise:
            assert guard.judge(noise[i], i + 0.5) not in GOOD
        assert guard.judge(total, i + 1.0) == "good"


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode), st.text(alphabet="a0.é", max_size=8))
def test_any_message_is_read_or_not(payload: bytes, key: str) -> None:
    document = read(payload)
    if document is not None:
        number = number_at(document, key)
        assert number is None or (isinstance(number, float) and math.isfinite(number))
        time_ns = time_at(document, key)
        assert time_ns is None or -(2**63) < time_ns < 2**63


json_trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "0"]), inner, max_size=3),
    max_leaves=8,
)


@given(json_trees, st.sampled_from(["", "a", "a.b", "a.0", "0", "0.0.a", "a.99999999999999999999"]))
def test_only_finite_numbers_are_numbers(tree: object, key: str) -> None:
    number = number_at(Document(tree), key)
    assert number is None or math.isfinite(number)
    time_ns = time_at(Document(tree), key, per_s=1000)
    assert time_ns is None or -(2**63) < time_ns < 2**63


@given(st.lists(st.binary(max_size=100), max_size=20))
def test_any_line_events_count_upwards(pieces: list[bytes]) -> None:
    count = EdgeCount()
    for piece in pieces:
        before = count.edges
        count.feed(piece)
        assert before <= count.edges < 2**32


cells = st.sampled_from(
    ["", "1", "-3", "2.5", "1e5", "nan", "x", '"', "1,5", "2026-11-22T08:00:00Z", "1795334400", "\r", "\0"]
)
rows = st.lists(st.lists(cells, max_size=4).map(";".join), max_size=6)


@settings(max_examples=40)
@given(st.binary(max_size=120) | rows.map(lambda r: "\n".join(["time;out;stock", *r]).encode()))
def test_any_dropped_file_is_taken_or_put_aside_and_its_total_never_falls(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        drop = base / "drop"
        drop.mkdir()
        (drop / "a.csv").write_bytes(content)
        values = [
            {"signal": "pallets_out_total", "key": "out", "adds": True},
            {"signal": "pallets_stored", "key": "stock"},
        ]
        options = convert({"folder": "drop", "delimiter": ";", "value": values}, FolderOptions, "gateway.toml")
        pace = Pace()
        context = Context(name="wms", base=base, counters=Counters(), sleep=pace.sleep, monotonic=pace.monotonic)
        got = asyncio.run(_until_quiet(CsvDrop(options, context), pace))
        totals = [s.values["pallets_out_total"] for s in got if "pallets_out_total" in s.values]
        assert totals == sorted(totals)
        assert all(math.isfinite(v) for s in got for v in s.values.values())
        assert not (drop / "a.csv").exists()


async def _until_quiet(source: CsvDrop, pace: Pace) -> list[Sample]:
    got: list[Sample] = []

    async def read_all() -> None:
        async for sample in source.samples():
            got.append(sample)  # noqa: PERF401  kept when it is cut off

    reading = asyncio.ensure_future(read_all())
    while len(pace.slept) < 3 and not reading.done():
        await asyncio.sleep(0)
    reading.cancel()
    await asyncio.wait({reading})
    if not reading.cancelled():
        reading.result()
    return got


@settings(max_examples=15)
@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.booleans())
def test_a_hostile_meter_breaks_nothing_but_its_own_line(answers: list[bytes], headed: bool) -> None:
    """A server that answers with any bytes, also inside a right header: the source ends with an OSError, without a value."""
    pytest.importorskip("pymodbus", reason="the extra modbus is not installed")
    from devices.source_modbus import make

    serving: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.append(task)
        left = list(answers)
        while request := await reader.read(300):
            body = left.pop(0) if left else b""
            writer.write(request[:4] + struct.pack(">H", len(body)) + body if headed and body else body)
        writer.close()
        await writer.wait_closed()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: None
        )  # what pymodbus raises in a callback
        port = server.sockets[0].getsockname()[1]
        meter = {"name": "m", "model": "sdm630", "signals": {"import_kwh": "grid_import_kwh"}}
        pace = Pace()
        context = Context(name="hall", sleep=pace.sleep, monotonic=pace.monotonic)
        source = make({"host": "127.0.0.1", "port": port, "timeout_s": 0.02, "meter": [meter]}, context)
        samples = source.samples()
        with pytest.raises(OSError):
            await anext(samples)
        server.close()
        await asyncio.wait(serving)

    asyncio.run(run())
