"""Configuration: what is right is read, what is wrong is named with file, key and mend."""

from pathlib import Path

import pytest

from devices.config import Broker, ConfigError, GatewayConfig, OutboxConfig, Tls, keys, load, password

GOOD = """
device = "truck-07"
tenant = "acme"
batch_s = 5
clock = "gps"
[broker]
host = "broker.example"
port = 8883
username = "truck-07"
password_env = "SECRET"
[[source]]
kind = "csv"
path = "trip.csv"
[[source]]
kind = "csv"
name = "meter"
path = "meter.csv"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "gateway.toml"
    path.write_text(text)
    return path


def refused(folder: Path, text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(written(folder, text))
    assert str(folder / "gateway.toml") in str(caught.value)
    return caught.value


def test_a_good_file_is_read(tmp_path: Path) -> None:
    loaded = load(written(tmp_path, GOOD))
    assert loaded.gateway.device == "truck-07"
    assert loaded.gateway.batch_s == 5
    assert loaded.gateway.broker == Broker(
        host="broker.example", port=8883, username="truck-07", password_env="SECRET", protocol="auto"
    )
    assert [(s.kind, s.name, s.options) for s in loaded.sources] == [
        ("csv", "csv", {"path": "trip.csv"}),
        ("csv", "meter", {"path": "meter.csv"}),
    ]
    assert loaded.base == tmp_path


@pytest.mark.parametrize(
    ("old", "new", "key", "mend"),
    [
        ('device = "truck-07"', "", "device", "is missing"),
        ('device = "truck-07"', 'device = "Truck 7"', "device", "3 to 40"),
        ("batch_s = 5", "batch_s = 0", "batch_s", ">= 0.1"),
        ("batch_s = 5", 'batch_s = "5"', "batch_s", "expected float, got str"),
        ("batch_s = 5", "batchs = 5", "batchs", "did you mean batch_s?"),
        ("batch_s = 5", "batch_max = 1001", "batch_max", "<= 1000"),
        ('clock = "gps"', 'clock = "sun"', "clock", '"none", "rtc", "ntp" or "gps"'),
        ("port = 8883", "port = 70000", "broker.port", "1 to 65535"),
        ("port = 8883", "prot = 8883", "broker.prot", "did you mean port?"),
        ("port = 8883", 'password = "geheim"', "broker.password", "did you mean password_env?"),
        ("port = 8883", "colour = 1", "broker.colour", "known are host, port"),
        ("port = 8883", "protocol = 5", "broker.protocol", "a text, in quotes"),
        ("port = 8883", "tls = { crt = 1 }", "broker.tls.crt", "did you mean cert?"),
        ("port = 8883", 'tls = { ca = "none.pem" }', "broker.tls.ca", "none.pem"),
        ('host = "broker.example"', "", "broker.host", "is missing"),
        ('kind = "csv"\nname = "meter"', 'name = "meter"', "source[1].kind", 'kind = "csv"'),
        ('name = "meter"', 'name = "csv"', "source[1].name", "names two sources"),
        ('name = "meter"', "name = 3", "source[1].name", "expected a text"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, key: str, mend: str) -> None:
    assert old in GOOD
    error = refused(tmp_path, GOOD.replace(old, new, 1))
    assert error.key == key
    assert mend in error.mend


def test_a_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text("")
    error = refused(tmp_path, GOOD.replace("port = 8883", 'tls = { cert = "cert.pem" }'))
    assert "together" in error.mend


def test_a_file_that_is_no_toml_is_named_with_the_line(tmp_path: Path) -> None:
    assert "line 2" in refused(tmp_path, "device = 'a'\n= 3").mend


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.toml")


def test_the_password_comes_from_the_environment_only() -> None:
    broker = Broker(host="b", password_env="SECRET")
    assert password(broker, {"SECRET": "s"}, "f") == "s"
    assert password(Broker(host="b"), {"SECRET": "s"}, "f") is None
    with pytest.raises(ConfigError, match="no SECRET") as caught:
        password(broker, {}, "f")
    assert caught.value.key == "broker.password_env"


@pytest.mark.parametrize("struct", [GatewayConfig, OutboxConfig, Broker, Tls])
def test_every_key_is_explained_in_the_help(struct: type) -> None:
    explained = {key for key, _, _ in keys(struct)}
    assert set(struct.__annotations__) - explained <= {
        "broker",
        "outbox",
        "tls",
    }  # the tables, explained by their own keys


def test_a_limit_for_what_is_no_signal_is_named(tmp_path: Path) -> None:
    error = refused(tmp_path, GOOD.replace("[broker]", "hold = { speed_kmhh = 3 }\n[broker]", 1))
    assert (error.key, error.mend) == ("hold.speed_kmhh", "is no signal; did you mean speed_kmh?")


def test_files_that_systemd_hands_over_stand_for_those_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "device.key").write_text("")
    for name in ("device.pem", "ca.pem"):
        (tmp_path / name).write_text("")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    text = (
        'device = "truck-01"\ntenant = "acme"\n[broker]\nhost = "b"\n'
        'tls = { ca = "ca.pem", cert = "device.pem", key = "device.key" }\n[[source]]\nkind = "csv"\n'
    )
    tls = load(written(tmp_path, text)).gateway.broker.tls
    assert tls is not None
    assert (tls.ca, tls.cert, tls.key) == ("ca.pem", "device.pem", str(credentials / "device.key"))
