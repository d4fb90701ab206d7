"""Every golden vector, of every version ever written, still reads as the rows stored beside it."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from devices.envelope import batch_hash
from devices.signals import SIGNALS
from ingest.decode import Decoded, Message, decode
from stream.columns import CLOCK_SOURCES

FOLDER = Path(__file__).parent / "wire"
NEVER_DELETED = {
    "v1_backlog",
    "v1_by_hand",
    "v1_extremes",
    "v1_gaps",
    "v1_json",
    "v1_merged",
    "v1_no_signals",
    "v1_one_reading",
    "v1_signed",
    "v1_truck_minute",
}
NAMES = sorted(path.stem for path in FOLDER.glob("*.bin"))


def test_no_vector_is_missing() -> None:
    assert set(NAMES) >= NEVER_DELETED


def load(name: str) -> tuple[dict[str, Any], bytes, list[dict[str, Any]]]:
    about: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return about, (FOLDER / f"{name}.bin").read_bytes(), [about["every_row"] | row for row in about["rows"]]


def read(leaf: str, rows: list[dict[str, Any]], payloads: list[bytes]) -> Decoded:
    device, received_ns = rows[0]["device"], max(row["time_ns"] for row in rows)
    messages = [Message(f"fleet/v1/acme/{device}/{leaf}", payload, received_ns) for payload in payloads]
    return decode(messages, {device: 3}, ["acme"], earliest_ns=0)


@pytest.mark.parametrize("name", NAMES)
def test_vector(name: str) -> None:
    about, payload, rows = load(name)
    assert hashlib.sha256(payload).hexdigest() == about["sha256"], "a golden vector is never changed"
    decoded = read(about["leaf"], rows, [payload])
    assert (decoded.rejected, decoded.bad_rows, decoded.n) == ([], [], len(rows))
    columns = {column: array.tolist() for column, array in decoded.columns.items()}
    for i, row in enumerate(rows):
        got = {key: columns[key][i] for key in ("boot_id", "seq", "merged", "time_ns", "historical", "clock_error_ms")}
        got |= {"device": row["device"] if columns["device"][i] == 3 else None}
        got |= {"clock_source": CLOCK_SOURCES[columns["clock_source"][i]]}
        signals = {s.name: columns[s.name][i] for s in SIGNALS if not math.isnan(columns[s.name][i])}
        assert got | {"signals": signals} == row


@pytest.mark.parametrize("name", NAMES)
def test_a_truncated_vector_is_rejected(name: str) -> None:
    about, payload, rows = load(name)
    decoded = read(about["leaf"], rows, [payload[:end] for end in range(len(payload))])
    assert (len(decoded.rejected), decoded.n) == (len(payload), 0)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("_json")])
def test_a_flipped_bit_never_changes_a_value(name: str) -> None:
    """The frame's checksum covers the signals; a bit of the header changes what the header says, or the message goes."""
    about, payload, rows = load(name)
    flipped = []
    for bit in range(8 * len(payload)):
        damaged = bytearray(payload)
        damaged[bit // 8] ^= 1 << bit % 8
        flipped.append(bytes(damaged))
    good = read(about["leaf"], rows, [payload])
    for start in range(0, len(flipped), 400):
        some = flipped[start : start + 400]
        decoded = read(about["leaf"], rows, some)
        assert decoded.n == (len(some) - len(decoded.rejected)) * len(rows)
        for s in SIGNALS:
            times = decoded.n // len(rows)
            np.testing.assert_array_equal(decoded.columns[s.name], np.tile(good.columns[s.name], times), err_msg=s.name)


def test_the_signed_vector_is_read_by_hand() -> None:
    """Offsets and the signed message as ``devices/envelope.py`` tells them, without its code."""
    payload = bytearray((FOLDER / "v1_signed.bin").read_bytes())
    at = 43 + payload[42]
    assert payload[at : at + 34] == b"\x01\x20" + b"P" * 32
    assert payload[at + 34 : at + 68] == b"\x02\x20" + b"R" * 32
    assert payload[at + 68 : at + 70] == b"\x03\x40"
    assert int.from_bytes(payload[4:6], "little") == at + 70 + 64
    assert payload[3] == 1
    payload[3] = 0  # late data: says how it travels
    signature, rest = payload[at + 70 : at + 134], payload[: at + 70] + payload[at + 134 :]
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key()
    key.verify(bytes(signature), b"fleetco2 batch 1\nacme\n" + bytes(rest))
    assert batch_hash((FOLDER / "v1_signed.bin").read_bytes()) == hashlib.sha256(bytes(payload)).digest()
