"""Keys are kept as hashes, fit only themselves, and end when revoked."""

from pathlib import Path

import pytest

from dashboards.feed.keys import KeyFileError, fits, load, make, revoke, save, split

NOW = 1_795_305_600_000_000_000


def test_a_key_is_kept_as_a_hash(tmp_path: Path) -> None:
    key, text = make("Ministry", tenants=["t1"], regions=["ruhr"], now_ns=NOW)
    path = tmp_path / "keys.json"
    save(path, [key])
    parts = split(text)
    assert parts is not None
    assert parts[1] not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert load(path) == {key.id: key}
    assert fits(key, parts[1])
    assert not fits(key, parts[1][:-1] + ("A" if parts[1][-1] != "A" else "B"))


def test_rights() -> None:
    key, _ = make("Ministry", tenants=["t1"], regions=["ruhr"], detail="routes", now_ns=NOW)
    assert key.sees_tenant("t1")
    assert not key.sees_tenant("t2")
    assert key.sees_region("ruhr")
    assert not key.sees_region(None)
    assert key.reaches("totals")
    assert key.reaches("routes")
    assert not key.reaches("vehicles")
    everything, _ = make("Auditor", tenants=["*"], detail="vehicles", now_ns=NOW)
    assert everything.sees_tenant("t2")
    assert everything.sees_region(None)
    assert not everything.hides


def test_revoke(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    key, _ = make("Ministry", tenants=["t1"], now_ns=NOW)
    other, _ = make("Auditor", tenants=["t1"], now_ns=NOW)
    save(path, [key, other])
    revoke(path, key.id, NOW + 5)
    assert load(path)[key.id].revoked_ns == NOW + 5
    assert load(path)[other.id].revoked_ns is None
    with pytest.raises(KeyFileError, match="holds no key 'nobody'"):
        revoke(path, "nobody", NOW)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    assert load(path) == {}
    save(path, [])
    path.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        load(path)
    path.chmod(0o600)
    path.write_text("[{}]")
    with pytest.raises(KeyFileError, match="damaged"):
        load(path)


@pytest.mark.parametrize("text", ["", "fc_abc", "xx_a_b", "fc_" + "a" * 200 + "_b"])
def test_what_is_no_key(text: str) -> None:
    assert split(text) is None


def test_rights_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="at least one tenant"):
        make("Ministry", tenants=[], now_ns=NOW)
    with pytest.raises(ValueError, match="over before"):
        make("Ministry", tenants=["t1"], days=0, now_ns=NOW)
