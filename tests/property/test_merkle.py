"""Merkle trees against the definition of RFC 6962, written out once more, and its published test vectors."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from storage import merkle

LEAVES = [bytes.fromhex(h) for h in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")]
ROOTS = {  # certificate-transparency-go, testdata of merkle/ (RFC 6962 reference tree)
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    4: "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    5: "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    6: "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    7: "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
}


def by_definition(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = 1
    while 2 * k < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + by_definition(leaves[:k]) + by_definition(leaves[k:])).digest()


def test_published_roots() -> None:
    for n, root in ROOTS.items():
        assert merkle.root([merkle.leaf_hash(leaf) for leaf in LEAVES[:n]]).hex() == root


@given(st.lists(st.binary(max_size=3), max_size=70))
def test_roots(leaves: list[bytes]) -> None:
    assert merkle.root([merkle.leaf_hash(leaf) for leaf in leaves]) == by_definition(leaves)


@given(st.lists(st.binary(max_size=3), min_size=1, max_size=70), st.data())
def test_a_path_proves_its_leaf_and_no_other(leaves: list[bytes], data: st.DataObject) -> None:
    hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
    index = data.draw(st.integers(0, len(leaves) - 1))
    path = merkle.path(hashes, index)
    root = by_definition(leaves)
    assert merkle.root_from(hashes[index], index, len(leaves), path) == root
    other = data.draw(st.binary(max_size=4).filter(lambda b: b != leaves[index]))
    assert merkle.root_from(merkle.leaf_hash(other), index, len(leaves), path) != root
    if path:
        cut = data.draw(st.integers(0, len(path) - 1))
        assert merkle.root_from(hashes[index], index, len(leaves), path[:cut] + path[cut + 1 :]) != root
    assert merkle.root_from(hashes[index], index, len(leaves), [*path, b"x" * 32]) is None
    assert merkle.root_from(hashes[index], len(leaves), len(leaves), path) is None
