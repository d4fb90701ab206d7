"""Records in a file: what is sound is found whatever lies around it, what is stale or torn never is."""

import random

from hypothesis import given
from hypothesis import strategies as st

from devices.records import BATCH, HEAD_BYTES, Head, head_bytes, read_head, record, record_size, scan


def file_of(contents: list[bytes], life: int = 7, size: int = 4096) -> bytearray:
    data = bytearray(head_bytes(Head(3, life))) + b"".join(record(BATCH, life, c) for c in contents)
    return data.ljust(size, b"\0")


def test_a_head_is_read_again_and_any_flipped_bit_is_seen() -> None:
    head = Head(2**40, 2**50, thinned=True, done=False)
    data = head_bytes(head)
    assert len(data) == HEAD_BYTES
    assert read_head(data) == head
    for bit in range(8 * 28):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        assert read_head(bytes(flipped)) is None
    assert read_head(bytes(HEAD_BYTES)) is None


@given(st.lists(st.binary(max_size=90), max_size=12))
def test_all_records_are_found(contents: list[bytes]) -> None:
    seen = scan(bytes(file_of(contents)), 7)
    assert [f.content for f in seen.found] == contents
    assert seen.end == HEAD_BYTES + sum(record_size(len(c)) for c in contents)
    assert (seen.damaged, seen.torn) == (0, False)


def test_a_cut_at_every_byte_leaves_a_clean_beginning() -> None:
    contents = [bytes([i]) * (10 + 7 * i) for i in range(6)]
    data = file_of(contents)
    for cut in range(HEAD_BYTES, len(data)):
        seen = scan(bytes(data[:cut].ljust(len(data), b"\0")), 7)
        kept = [f.content for f in seen.found]
        assert kept == contents[: len(kept)]
        assert seen.damaged == 0
        whole = HEAD_BYTES
        for n, content in enumerate(contents):
            whole += record_size(len(content))
            if cut >= whole:
                assert len(kept) > n


def test_a_flipped_bit_costs_its_own_record_only() -> None:
    contents = [bytes([65 + i]) * 40 for i in range(5)]
    clean = file_of(contents)
    end = HEAD_BYTES + 5 * record_size(40)
    for at in range(HEAD_BYTES, end):
        data = bytearray(clean)
        data[at] ^= 1 << at % 8
        seen = scan(bytes(data), 7)
        hit = (at - HEAD_BYTES) // record_size(40)
        assert [f.content for f in seen.found] == [c for i, c in enumerate(contents) if i != hit]
        assert seen.damaged == (hit < 4)
        assert seen.torn in ((hit == 4), False)


def test_what_an_earlier_use_left_is_never_taken() -> None:
    rng = random.Random(1)
    old = file_of([rng.randbytes(50) for _ in range(20)], life=6)
    new = [b"new one", b"and another"]
    data = bytearray(old)
    fresh = head_bytes(Head(9, 7)) + b"".join(record(BATCH, 7, c) for c in new)
    data[: len(fresh)] = fresh
    seen = scan(bytes(data), 7)
    assert [f.content for f in seen.found] == new
    assert seen.damaged == 0


@given(st.binary(max_size=600))
def test_junk_is_no_record(junk: bytes) -> None:
    assert scan(head_bytes(Head(1, 7)) + junk, 7).found == []
