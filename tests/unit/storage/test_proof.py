"""Roots of hours, what proves a commit or a file, and which commits a time range is."""

import hashlib
import json
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from storage.compact import compact
from storage.errors import StorageError
from storage.file_names import commits_of
from storage.inventory import active
from storage.lake import Lake
from storage.proof import commit_range, inclusion, latest_root, proves
from storage.roots import HOUR_NS, epochs, load_key, make_key, roots
from tests.lake_data import SECOND, T0, Clock, commit


def filled(folder: Path, hours: int = 3, each: int = 3, *, key: bool = True) -> tuple[Path, Clock]:
    """``each`` commits in each of ``hours`` hours from T0 on, the hours sealed; a commit's file holds ten readings."""
    clock = Clock(T0)
    with Lake.open(folder / "lake", create=True, now_ns=clock) as lake:
        for i in range(hours * each):
            clock.now_ns = T0 + i // each * HOUR_NS + i % each * 600 * SECOND
            lake.commit(commit(10, seed=i))
    clock.now_ns = T0 + hours * HOUR_NS + 11 * SECOND
    if key:
        make_key(folder / "key")
    list(compact(folder / "lake", now_ns=clock, key=load_key(folder / "key") if key else None))
    return folder / "lake", clock


def test_a_root_for_each_hour_that_is_over(tmp_path: Path) -> None:
    lake, clock = filled(tmp_path)
    found = [r for r, _ in roots(lake)]
    assert [(r.n, r.hour_ns, r.first, r.last) for r in found] == [
        (1, T0, 1, 3),
        (2, T0 + HOUR_NS, 4, 6),
        (3, T0 + 2 * HOUR_NS, 7, 9),
    ]
    assert latest_root(lake) == found[-1]
    with Lake.open(lake, create=False, now_ns=clock) as writer:
        writer.commit(commit(1))
    list(compact(lake, now_ns=clock))
    assert latest_root(lake) == found[-1]
    clock.move(3600)
    list(compact(lake, now_ns=clock))
    newest = latest_root(lake)
    assert newest is not None
    assert (newest.first, newest.last, newest.signature) == (10, 10, "")
    assert (newest.first_change, newest.last_change) == (
        1,
        17,
    )  # three hours' merges of five tables, hourly sums and newest words lie under the next root


def test_the_signature_is_over_the_line_as_anybody_can_write_it(tmp_path: Path) -> None:
    lake, _ = filled(tmp_path)
    for _, line in roots(lake):
        told = json.loads(line)
        signature, told["signature"] = bytes.fromhex(told["signature"]), ""
        message = b"fleetco2 root 1\n" + json.dumps(told, sort_keys=True, separators=(",", ":")).encode()
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(told["public_key"])).verify(signature, message)


def test_proof_of_a_commit_and_of_its_file(tmp_path: Path) -> None:
    lake, _ = filled(tmp_path)
    for n in range(1, 10):
        proof = inclusion(lake, n)
        assert proof is not None
        assert json.loads(proof.line)["n"] == n
        assert proof.root.first <= n <= proof.root.last
        assert proves(proof)
        assert not proves(msgspec.structs.replace(proof, line=proof.line.replace('"rows":10', '"rows":11', 1)))
        for f in json.loads(proof.line)["files"]:
            assert inclusion(lake, f["path"]) == proof


def test_proof_of_a_merged_file(tmp_path: Path) -> None:
    lake, clock = filled(tmp_path)
    [path, *_] = active(lake, "emissions")
    assert inclusion(lake, path) is None  # merged after its hour was sealed: under the next root
    with Lake.open(lake, create=False, now_ns=clock) as writer:
        writer.commit(commit(1))
    clock.move(3600)
    list(compact(lake, now_ns=clock))
    proof = inclusion(lake, path)
    assert proof is not None
    assert proves(proof)
    made = json.loads(proof.line)["made"]
    assert made["sha256"] == hashlib.sha256((lake / "emissions" / path).read_bytes()).hexdigest()


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    lake, _ = filled(tmp_path)
    for what in (10, "day=2026-11-22/000000000001-nobody.parquet"):
        with pytest.raises(StorageError, match="names no"):
            inclusion(lake, what)


def test_commits_of_a_time_range(tmp_path: Path) -> None:
    lake, _ = filled(tmp_path)
    first = T0 + SECOND  # the clock moves a second at each look
    assert commit_range(lake, first, first + 1) == (1, 1)
    assert commit_range(lake, T0 + HOUR_NS, T0 + 2 * HOUR_NS) == (4, 6)
    assert commit_range(lake, 0, 2**62) == (1, 9)
    assert commit_range(lake, T0 - HOUR_NS, T0) is None


def test_nothing_is_merged_across_hours_or_another_factor_set(tmp_path: Path) -> None:
    clock = Clock(T0)
    with Lake.open(tmp_path, create=True, now_ns=clock) as lake:
        for i in range(8):
            lake.dimensions = {"routes": "one" if i < 6 else "two"}
            lake.commit(commit(10, seed=i))
            clock.now_ns = T0 + (i + 1) * 900 * SECOND
    assert epochs(tmp_path).starts == (1, 5, 7)
    list(compact(tmp_path, now_ns=clock))
    assert epochs(tmp_path).starts == (1, 5, 7)
    assert sorted(filter(None, map(commits_of, active(tmp_path, "readings")))) == [(1, 4), (5, 6), (7, 8)]


def test_a_clock_set_back_makes_no_gap(tmp_path: Path) -> None:
    clock = Clock(T0)
    with Lake.open(tmp_path, create=True, now_ns=clock) as lake:
        for seconds in (0, 4000, 1000, 8000, 7000):
            clock.now_ns = T0 + seconds * SECOND
            lake.commit(commit(2))
    clock.now_ns = T0 + 4 * HOUR_NS
    list(compact(tmp_path, now_ns=clock))
    assert [(r.first, r.last) for r, _ in roots(tmp_path)] == [(1, 3), (4, 5)]
