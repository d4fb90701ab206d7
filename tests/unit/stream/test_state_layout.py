"""State blocks of earlier versions are refused by name, and a record is not changed without a new version."""

import hashlib

import pytest

from stream import state
from stream.pipeline import start
from stream.state import STATE, StateError, state_block
from tests.support import fleet

LAYOUT = {
    7: "ec2734e987885d14110aa037560414204ed605b7598f2e639b05c3183d7e14e4",
    8: "7b4f4d69b89fdccaaa764253e3021cce9cddedd54834342a101be16787a4aaa2",
    9: "5f72d4bcd94b06e59446fb69fa3ca978c9aecc4d15d0fdb461e1a584e85e4e84",
    10: "12ba77edf3f11b4b75f8d949d736e174f2dd5be552bfdd4f88572df73a5ae236",
}  # version: SHA-256 of the fields


def test_a_changed_record_has_a_new_version() -> None:
    """When this fails: raise ``_VERSION`` in stream/state.py and put the new hash under it here."""
    assert hashlib.sha256(repr(STATE.descr).encode()).hexdigest() == LAYOUT[state._VERSION]


@pytest.mark.parametrize("version", [0, 6, state._VERSION + 1])
def test_another_version_is_refused_by_its_number(version: int) -> None:
    of = fleet()
    block = bytearray(b"".join(state_block(start(of).rows.whole(), of.devices)))
    block[2] = version
    with pytest.raises(StateError, match=f"state has version {version}, this program reads {state._VERSION}"):
        start(of, bytes(block))


def test_a_part_of_another_version_behind_a_good_one_is_refused() -> None:
    of = fleet()
    good = start(of).to_bytes()
    bad = good[:2] + bytes([6]) + good[3:]
    with pytest.raises(StateError, match="version 6"):
        start(of, [good, bad])
    with pytest.raises(StateError, match="version 6"):
        start(of, good + bad)
