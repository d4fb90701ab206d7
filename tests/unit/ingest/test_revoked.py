"""Which gateways are refused from now on, as a file says that may change at any time."""

from pathlib import Path

import pytest

from devices.config import ConfigError
from ingest.revoked import LOOK_S, RevokedList, read_revoked


def test_ids_one_a_line_with_remarks(tmp_path: Path) -> None:
    path = tmp_path / "revoked.txt"
    path.write_text("# stolen\ntruck-01\n\n  truck-02  # card cloned\n")
    assert read_revoked(path) == {"truck-01", "truck-02"}


def test_what_is_no_id_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "revoked.txt"
    path.write_text("truck-01\nTruck 2\n")
    with pytest.raises(ConfigError, match=r"line 2.*'Truck 2'"):
        RevokedList(path)
    with pytest.raises(ConfigError, match="an empty file revokes nobody"):
        RevokedList(tmp_path / "none.txt")


def test_a_change_is_seen_and_a_broken_file_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "revoked.txt"
    path.write_text("")
    listed = RevokedList(path)
    assert not listed.look(LOOK_S)
    path.write_text("truck-01\n")
    assert not listed.look(1.5 * LOOK_S)  # not yet
    assert listed.look(3 * LOOK_S)
    assert listed.devices == {"truck-01"}
    path.write_text("truck-01\nno good name\n")
    assert not listed.look(5 * LOOK_S)
    path.unlink()
    assert not listed.look(7 * LOOK_S)
    assert listed.devices == {"truck-01"}
    assert [r.message.split()[0] for r in caplog.records] == [
        "revoked_changed",
        "revoked_unreadable",
        "revoked_unreadable",
    ]
    path.write_text("")
    assert listed.look(9 * LOOK_S)
    assert not listed.devices
