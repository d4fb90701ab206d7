"""Signed configuration: what is taken, what is refused, and that the one before comes back."""

import base64
import hashlib
import hmac
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.config import Broker, ConfigError, GatewayConfig
from devices.counters import Counters
from devices.remote_config import FILE, MESSAGE_MAX, TEXT_MAX, TRIALS, RemoteConfig, Signed, signed_bytes

SECRET = b"the operator's"
BASE = GatewayConfig(
    device="truck-01", tenant="acme", broker=Broker(host="b"), source=({"kind": "csv", "path": "a.csv"},), batch_s=7
)
GOOD = 'batch_s = 20\n[[source]]\nkind = "csv"\npath = "b.csv"\n'


def mac(message: bytes) -> bytes:
    """Stands for Ed25519, which ``test_signing`` tries: whoever knows the secret can sign."""
    return hmac.digest(SECRET, message, "sha512")


def message(version: int, config: str = GOOD, device: str = "truck-01", tenant: str = "acme") -> bytes:
    signature = base64.b64encode(mac(signed_bytes(tenant, device, version, config))).decode()
    return msgspec.json.encode(Signed(version=version, config=config, signature=signature))


def fresh(folder: Path | None = None, counters: Counters | None = None, base: GatewayConfig = BASE) -> RemoteConfig:
    def check(config: GatewayConfig) -> None:
        if config.source[0]["kind"] != "csv":
            raise ConfigError("dn/config", "source", "there is no such kind")

    verify = lambda m, s: hmac.compare_digest(mac(m), s)  # noqa: E731
    return RemoteConfig(base, verify, counters=counters or Counters(), check=check, folder=folder)


def test_a_signed_configuration_changes_sources_and_batches_and_nothing_else() -> None:
    remote = fresh()
    assert remote.start(0.0) == (BASE, [])
    change, said = remote.on_message(message(1), 0.0, numbered=5)
    assert change is not None
    assert change.config == msgspec.structs.replace(BASE, batch_s=20.0, source=({"kind": "csv", "path": "b.csv"},))
    assert [s.event for s in said] == ["config_applied"]
    assert remote.applied.version == 1
    assert remote.applied.trial
    assert remote.applied.sha256 == hashlib.sha256(GOOD.encode()).hexdigest()


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "unreadable"),
        (b"[]", "unreadable"),
        (b"\xff", "unreadable"),
        (b"{" * 100_000, "unreadable"),
        (b" " * (MESSAGE_MAX + 1), "unreadable"),
        (b'{"version":1,"config":"","signature":"%"}', "unreadable"),
        (b'{"version":0,"config":"","signature":""}', "unreadable"),
        (b'{"version":1,"config":"","signature":""}', "bad_signature"),
        (message(1, GOOD + "#" * TEXT_MAX), "unreadable"),
        (message(1, device="truck-02"), "bad_signature"),
        (message(1, tenant="other"), "bad_signature"),
        (message(1).replace(b"20", b"21"), "bad_signature"),
        (message(1).replace(b'"version":1', b'"version":2'), "bad_signature"),
        (message(1, "batch_s ="), "invalid"),
        (message(1, "batch_s = -1"), "invalid"),
        (message(1, "batch_s = nan"), "invalid"),
        (message(1, "source = []"), "invalid"),
        (message(1, '[[source]]\nkind = "can"\n'), "invalid"),
        (message(1, "[hold]\nno_signal = 1\n"), "invalid"),
        *(
            (message(1, f"{line}\n{GOOD}"), "invalid")
            for line in (
                'device = "truck-02"',
                'tenant = "other"',
                "keep_max_readings = 16",
                'config_key = ""',
                "config_trial_s = 80000",
                'broker = { host = "evil" }',
                "health_port = 80",
                'clock = "gps"',
                'state_dir = "/"',
            )
        ),
    ],
)
def test_what_is_refused_changes_nothing_and_is_counted(payload: bytes, reason: str) -> None:
    counters = Counters()
    remote = fresh(counters=counters)
    change, said = remote.on_message(payload, 0.0, 0)
    assert change is None
    assert [s.event for s in said] == ["config_refused"]
    assert counters.by_label("config_refused") == {reason: 1}
    assert remote.applied.version == 0
    assert remote.on_tick(1e9) == (None, [])


@given(st.binary(max_size=300))
def test_no_bytes_break_it(payload: bytes) -> None:
    assert fresh().on_message(payload, 0.0, 0)[0] is None


def test_an_older_version_is_refused_and_the_same_again_is_no_news() -> None:
    counters = Counters()
    remote = fresh(counters=counters)
    remote.on_message(message(5), 0.0, 0)
    assert remote.on_message(message(5), 1.0, 0) == (None, [])
    for old in (message(4), message(5, GOOD + "\n")):
        assert remote.on_message(old, 1.0, 0)[0] is None
    assert counters.by_label("config_refused") == {"older_version": 2}
    assert remote.applied.version == 5


def test_it_is_kept_when_the_server_confirms_a_reading_taken_under_it() -> None:
    remote = fresh()
    remote.on_message(message(1), 0.0, numbered=100)
    trials = [remote.applied.trial]
    assert remote.on_confirmed(100) == []  # taken before
    trials.append(remote.applied.trial)
    assert [s.event for s in remote.on_confirmed(101)] == ["config_kept"]
    trials.append(remote.applied.trial)
    assert trials == [True, True, False]
    assert remote.on_tick(1e9) == (None, [])


def test_a_silent_server_brings_back_the_one_before_for_good() -> None:
    counters = Counters()
    remote = fresh(counters=counters)
    remote.on_message(message(1), 0.0, 0)
    remote.on_confirmed(1)
    remote.on_message(message(2, "batch_s = 30"), 1000.0, 50)
    assert remote.on_tick(1599.9) == (None, [])
    change, said = remote.on_tick(1600.0)
    assert change is not None
    assert change.config.batch_s == 20
    assert [s.event for s in said] == ["config_rolled_back"]
    assert (remote.applied.version, remote.applied.trial, remote.applied.refused) == (1, False, "rolled_back")
    assert remote.on_message(message(2, "batch_s = 30"), 1700.0, 60)[0] is None
    assert remote.on_message(message(3, "batch_s = 31"), 1800.0, 60)[0] is not None
    assert counters.by_label("config_rolled_back") == {"server_silent": 1}


def test_the_first_one_rolls_back_to_the_file() -> None:
    remote = fresh()
    remote.on_message(message(1), 0.0, 0)
    change, _ = remote.on_tick(600.0)
    assert change is not None
    assert change.config == BASE


def test_it_survives_a_restart(tmp_path: Path) -> None:
    remote = fresh(tmp_path)
    remote.start(0.0)
    remote.on_message(message(1), 0.0, 0)
    remote.on_confirmed(1)
    config, said = fresh(tmp_path).start(0.0)
    assert (config.batch_s, said) == (20, [])
    assert list(tmp_path.iterdir()) == [tmp_path / FILE]


def test_a_trial_goes_on_after_a_restart_but_not_for_ever(tmp_path: Path) -> None:
    counters = Counters()
    fresh(tmp_path).on_message(message(1), 0.0, 0)
    for _ in range(TRIALS - 1):
        remote = fresh(tmp_path, counters)
        assert remote.start(0.0)[0].batch_s == 20
        assert remote.applied.trial
    config, said = fresh(tmp_path, counters).start(0.0)
    assert config == BASE
    assert [s.event for s in said] == ["config_rolled_back"]
    assert counters.by_label("config_rolled_back") == {"starts": 1}
    after = fresh(tmp_path)
    after.start(0.0)
    assert after.on_message(message(1), 0.0, 0)[0] is None


def test_a_restart_under_trial_is_confirmed_by_its_own_readings(tmp_path: Path) -> None:
    fresh(tmp_path).on_message(message(1), 0.0, 10_000)
    remote = fresh(tmp_path)
    remote.start(0.0)
    assert [s.event for s in remote.on_confirmed(1)] == ["config_kept"]


@pytest.mark.parametrize("damage", [b"", b"{}x", b'{"good":{"version":9,"config":"batch_s = 1","signature":"AAAA"}}'])
def test_a_damaged_or_forged_state_is_not_used(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / FILE).write_bytes(damage)
    config, said = fresh(tmp_path).start(0.0)
    assert config == BASE
    assert [s.event for s in said] == ["config_state_unusable"]


def test_what_no_longer_fits_the_file_on_the_device_gives_way(tmp_path: Path) -> None:
    remote = fresh(tmp_path)
    remote.on_message(message(1, "hold_s = 3"), 0.0, 0)
    remote.on_confirmed(1)
    without_sources = msgspec.structs.replace(BASE, source=())
    config, said = fresh(tmp_path, base=without_sources).start(0.0)
    assert config == without_sources
    assert [s.event for s in said] == ["config_refused"]


def test_a_disk_that_takes_nothing_is_said_and_stops_nothing(tmp_path: Path) -> None:
    remote = fresh(tmp_path / "gone")
    change, said = remote.on_message(message(1), 0.0, 0)
    assert change is not None
    assert [s.event for s in said] == ["config_applied", "config_state_unusable"]
    assert [s.event for s in remote.on_confirmed(1)] == ["config_kept", "config_state_unusable"]
