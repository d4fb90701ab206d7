"""Batches sealed, read again by the gateway and by the server; every bit of a signed batch is covered."""

import hashlib

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.envelope import UNSIGNED, as_historical, batch_hash, envelope, replaced, seal, signed_message
from devices.signals import SIGNALS
from devices.unbatch import head, samples
from devices.wire import SCALE, Sample, encode_batch
from ingest.decode import Message, decode

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
T0_MS = 1_700_000_000_000
TOPIC = "fleet/v1/acme/truck-01/up/readings"

_VALUES = st.dictionaries(
    st.sampled_from(SIGNALS),
    st.floats(0, 1),
    max_size=6,
).map(
    lambda chosen: {
        s.name: round((s.low + f * (s.high - s.low)) * SCALE[s.name]) / SCALE[s.name] for s, f in chosen.items()
    }
)
_ROWS = st.lists(
    st.tuples(st.integers(-(10**9), 10**9), _VALUES, st.integers(1, 9)).map(
        lambda t: Sample((T0_MS + t[0]) * 1_000_000, dict(t[1]), t[2])
    ),
    min_size=1,
    max_size=25,
)


def _frame(rows: list[Sample], **more: object) -> bytes:
    return encode_batch("truck-01", 5, 70, rows, clock_source="gps", clock_error_ms=3, **more)  # type: ignore[arg-type]


@given(_ROWS)
@settings(max_examples=60)
def test_the_gateway_reads_what_it_wrote(rows: list[Sample]) -> None:
    kept = []
    for row in rows:
        ranged = {n: v for n, v in row.values.items() if _in_range(n, v)}
        kept.append(Sample(row.time_ns, ranged, row.merged))
    frame = _frame(kept)
    top = head(frame)
    assert (top.boot_id, top.seq0, top.end, top.n) == (5, 70, 70 + sum(r.merged for r in kept), len(kept))
    assert (top.clock_source, top.clock_error_ms) == ("gps", 3)
    assert samples(frame) == kept
    sealed = seal(frame, "acme", previous=bytes(32), replaces=None, sign=KEY.sign)
    assert samples(sealed) == kept
    assert samples(as_historical(sealed)) == kept


def _in_range(name: str, value: float) -> bool:
    signal = next(s for s in SIGNALS if s.name == name)
    return signal.low <= value <= signal.high


@pytest.mark.parametrize("previous", [None, b"p" * 32])
@pytest.mark.parametrize("replaces", [None, b"r" * 32])
@pytest.mark.parametrize("signs", [False, True])
def test_what_was_sealed_is_found_and_the_server_reads_the_batch(
    previous: bytes | None, replaces: bytes | None, signs: bool
) -> None:
    frame = _frame([Sample(T0_MS * 1_000_000, {"odometer_m": 15.0})])
    sealed = seal(frame, "acme", previous=previous, replaces=replaces, sign=KEY.sign if signs else None)
    found = envelope(sealed)
    assert (found.previous, found.replaces) == (previous, replaces)
    assert (found.signature is not None) == signs
    assert replaced(sealed) == ((replaces,) if replaces else ())
    if signs:
        assert found.signature is not None
        KEY.public_key().verify(found.signature, signed_message(sealed, "acme", found.signature_at))
        with pytest.raises(InvalidSignature):
            KEY.public_key().verify(found.signature, signed_message(sealed, "other", found.signature_at))
    decoded = decode([Message(TOPIC, sealed, T0_MS * 1_000_000)], {"truck-01": 0}, ["acme"], earliest_ns=0)
    assert not decoded.rejected
    assert decoded.columns["odometer_m"].tolist() == [15.0]
    if not (previous or replaces or signs):
        assert sealed == frame
        assert found is UNSIGNED


def test_how_it_travels_changes_neither_hash_nor_signature() -> None:
    sealed = seal(_frame([Sample(T0_MS * 1_000_000, {})]), "acme", previous=None, replaces=None, sign=KEY.sign)
    late = as_historical(sealed)
    assert late != sealed
    assert late == as_historical(late)
    assert batch_hash(late) == batch_hash(sealed) == hashlib.sha256(sealed).digest()
    assert envelope(late) == envelope(sealed)
    at = envelope(sealed).signature_at
    assert signed_message(late, "acme", at) == signed_message(sealed, "acme", at)


def test_every_flipped_bit_but_the_one_of_late_data_breaks_the_signature_or_the_frame() -> None:
    sealed = seal(
        _frame([Sample(T0_MS * 1_000_000, {"hdop": 1.0})]), "acme", previous=b"x" * 32, replaces=None, sign=KEY.sign
    )
    good = []
    for bit in range(8 * len(sealed)):
        flipped = bytearray(sealed)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            found = envelope(bytes(flipped))
            assert found.signature is not None
            KEY.public_key().verify(found.signature, signed_message(bytes(flipped), "acme", found.signature_at))
            good.append(bit)
        except (ValueError, InvalidSignature, AssertionError, IndexError):
            pass
    assert good == [3 * 8]


@given(st.binary(max_size=120), st.integers(0, 400))
def test_extensions_of_any_content_raise_nothing_but_value_errors(junk: bytes, length: int) -> None:
    frame = _frame([Sample(T0_MS * 1_000_000, {})])
    longer = frame[:4] + (51 + length).to_bytes(2, "little") + frame[6:51] + junk + frame[51:]
    try:
        envelope(longer)
    except (ValueError, IndexError):
        return
