"""State files."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage import snapshot
from storage.errors import StorageError


@pytest.mark.parametrize("blocks", [(), (b"",), (b"x",), (b"a", np.arange(3), memoryview(b"bc"))])
def test_round_trip(tmp_path: Path, blocks: tuple[Any, ...]) -> None:
    payload = b"".join(bytes(block) for block in blocks)
    path = tmp_path / "1.state"
    path.write_bytes(snapshot.pack(blocks))
    assert snapshot.read(path, hashlib.sha256(payload).hexdigest()) == payload


def test_another_file_than_named_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "1.state"
    path.write_bytes(snapshot.pack((b"of another commit",)))
    with pytest.raises(StorageError, match=r"1\.state: is not the state that its commit names"):
        snapshot.read(path, hashlib.sha256(b"of this commit").hexdigest())


def test_the_version_stands_first() -> None:
    assert snapshot.pack((b"abc",))[0] == snapshot.VERSION


def test_damage_at_any_byte_and_any_cut_are_found(tmp_path: Path) -> None:
    whole = snapshot.pack((b"the state",))
    path = tmp_path / "1.state"
    for i in range(len(whole)):
        flipped = bytearray(whole)
        flipped[i] ^= 1
        with pytest.raises(StorageError, match=r"1\.state"):
            snapshot.unpack(path, bytes(flipped))
        with pytest.raises(StorageError, match=r"1\.state"):
            snapshot.unpack(path, whole[:i])
    with pytest.raises(StorageError, match="not whole"):
        snapshot.unpack(path, whole + b"\0")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"gone\.state"):
        snapshot.read(tmp_path / "gone.state", "")
