"""Signatures of gateways in a lake and in its export: checked against the registered keys, the first bad batch named."""

import datetime
import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from storage import verify_export
from storage.export import export
from storage.lake import Lake
from storage.registry import Registry, write_dimensions
from storage.schema import BATCHES
from storage.verify import Report, verify
from stream.fleet import Vehicle
from tests.lake_data import DEVICES, Clock, batches, nothing

KEY = Ed25519PrivateKey.generate()
DAYS = (datetime.date(2026, 11, 22), datetime.date(2026, 11, 23))


def lake_with(path: Path, rows: pa.Table, key: Ed25519PrivateKey = KEY) -> Report:
    """A lake with these batches; the first two devices have ``key`` in the registry, the third has none."""
    public = key.public_key().public_bytes_raw().hex()
    known = [
        Vehicle(f"t{i}", device, "artic_40t", "diesel_b7", public_key=public if i < 2 else None)
        for i, device in enumerate(DEVICES[:3])
    ]
    with Lake.open(path, create=True, now_ns=Clock()) as lake:
        write_dimensions(lake, Registry(tuple(known), (), ()))
        lake.commit(replace(nothing(), batches=rows))
    return verify(path)


def signed(n: int = 12) -> pa.Table:
    """Batches all of which are signed by ``KEY``."""
    rows = batches(2 * n, sign=KEY.sign).to_pylist()
    return pa.Table.from_pylist([r for r in rows if r["signature"]], schema=BATCHES)


def changed(rows: pa.Table, at: int, **values: object) -> pa.Table:
    plain = rows.to_pylist()
    plain[at] |= values
    return pa.Table.from_pylist(plain, schema=BATCHES)


def test_good_signatures(tmp_path: Path) -> None:
    report = lake_with(tmp_path / "lake", signed())
    assert report.findings == []
    assert (report.batches, report.signed, report.without_key) == (12, 8, 4)
    export(tmp_path / "lake", tmp_path / "out", *DAYS)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_bytes())
    assert verify_export.check_batches(tmp_path / "out", manifest) == (12, 8)


@pytest.mark.parametrize("what", ["key", "tenant", "signature", "previous"])
def test_the_first_bad_batch_is_named(tmp_path: Path, what: str) -> None:
    rows, key = signed(), KEY
    bad = next(i for i, r in enumerate(rows.to_pylist()) if r["device"] != DEVICES[2] and i > 2)
    if what == "key":
        bad, key = 0, Ed25519PrivateKey.generate()
    elif what == "tenant":
        rows = changed(rows, bad, tenant="other")
    elif what == "signature":
        rows = changed(rows, bad, signature=bytes(64))
    else:
        rows = changed(rows, bad, previous_sha256=bytes(32))
    first = lake_with(tmp_path / "lake", rows, key).first("batch")
    row = rows.to_pylist()[bad]
    assert first is not None
    assert f"{row['device']}, boot 7, readings {row['first_seq']} to {row['first_seq']}" in first.where
    assert first.hour == "2026-11-22T00Z"
    if what in ("key", "tenant"):
        export(tmp_path / "lake", tmp_path / "out", *DAYS)
        manifest = json.loads((tmp_path / "out" / "manifest.json").read_bytes())
        with pytest.raises(verify_export.DoesNotFitError, match="its signature is by no key that is registered"):
            verify_export.check_batches(tmp_path / "out", manifest)


def test_a_batch_that_was_taken_twice_is_named(tmp_path: Path) -> None:
    """Its frame is sound and signed, so only its standing here twice tells that it was published again."""
    rows = signed()
    assert lake_with(tmp_path / "lake", rows).findings == []
    with Lake.open(tmp_path / "lake", create=False, now_ns=Clock()) as lake:
        lake.recover()
        lake.commit(replace(nothing(), batches=rows.slice(4, 1)))
    [found] = verify(tmp_path / "lake").findings
    row = rows.to_pylist()[4]
    assert "the same batch was taken before" in found.what
    assert f"{row['device']}, boot 7, readings {row['first_seq']} to {row['first_seq']}" in found.where


def test_a_gateway_may_get_another_key(tmp_path: Path) -> None:
    assert lake_with(tmp_path / "lake", signed()).findings == []
    public = Ed25519PrivateKey.generate().public_key().public_bytes_raw().hex()
    new = [Vehicle("t0", DEVICES[0], "artic_40t", "diesel_b7", public_key=public)]
    with Lake.open(tmp_path / "lake", create=False, now_ns=Clock()) as lake:
        write_dimensions(lake, Registry(tuple(new), (), ()))
        lake.commit(nothing())
    assert verify(tmp_path / "lake").findings == []
    export(tmp_path / "lake", tmp_path / "out", *DAYS)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_bytes())
    assert verify_export.check_batches(tmp_path / "out", manifest) == (12, 8)
