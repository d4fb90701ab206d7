"""dashboards.toml, the roles file and the command."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from dashboards.__main__ import PASSWORD, main
from dashboards.config import DashboardsConfig, is_loopback, load
from dashboards.sql import roles, scram
from dashboards.sql.roles import Roles, RolesError
from devices.config import ConfigError
from tests.sql_server import make_lake, write_roles

GROWING = "SELECT 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' || i AS s FROM generate_series(1, 1) AS t(i)"
for _ in range(8):
    GROWING = f"SELECT s||s||s||s||s||s||s||s||s||s AS s FROM ({GROWING}) AS q"
GROWING = f"SELECT length(s) FROM ({GROWING}) AS q"


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    text = 'lake = "lake"\ntenant = "acme"\n[sql]\nroles = "roles.json"\nlisten = "0.0.0.0"\ntls_cert = "a.crt"\ntls_key = "a.key"\n'
    config = load(written(tmp_path / "dashboards.toml", text))
    assert config.sql is not None
    assert (config.lake, config.sql.roles, config.sql.tls_key) == tuple(
        str(tmp_path / n) for n in ("lake", "roles.json", "a.key")
    )
    assert config.http is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('lake = "l"\n[sql]\nroles = "r"\nlisten = "0.0.0.0"\n', r"sql\.listen: others would read"),
        ('lake = "l"\n[sql]\nroles = "r"\ntls_cert = "c"\n', r"sql\.tls_key: tls_cert and tls_key go together"),
        ('lake = "l"\n[sql]\n', r"sql\.roles: is missing"),
        ('lake = "l"\n[sql]\nroles = "r"\nprot = 1\n', r"sql\.prot: is no key"),
        ('lake = "l"\n[sql]\nroles = "r"\nport = 99999\n', r"sql\.port"),
        ('lake = "l"\ntenant = "A B"\n', "tenant"),
        ("[sql", "is not TOML"),
    ],
)
def test_a_mistake_is_named_with_its_mend(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load(written(tmp_path / "dashboards.toml", text))


@pytest.mark.parametrize(
    ("address", "local"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("host", False)]
)
def test_loopback(address: str, local: bool) -> None:
    assert is_loopback(address) is local
    assert DashboardsConfig(lake="x").sql is None


def test_roles_are_added_changed_listed_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "roles.json"
    monkeypatch.setenv(PASSWORD, "a long enough password")
    assert main(["role", "add", "grafana", "--tenant", "acme", "--roles", str(path)]) == 0
    assert path.stat().st_mode & 0o777 == 0o600
    assert "long enough" not in path.read_text()
    seen = Roles(path)
    first = seen.get("grafana")
    assert first is not None
    assert first.tenant == "acme"
    monkeypatch.setenv(PASSWORD, "another long password")
    assert main(["role", "add", "grafana", "--tenant", "*", "--roles", str(path)]) == 0
    changed = seen.get("grafana")
    assert changed is not None
    assert changed.tenant == "*"
    assert changed.verifier != first.verifier
    assert main(["role", "list", "--roles", str(path)]) == 0
    assert "grafana              *" in capsys.readouterr().out
    assert main(["role", "remove", "grafana", "--roles", str(path)]) == 0
    assert seen.get("grafana") is None
    assert main(["role", "remove", "grafana", "--roles", str(path)]) == 2
    assert "has no role grafana" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "tenant", "password"), [("Bad Name", "acme", "x" * 20), ("ok", "no", "x" * 20), ("ok", "acme", "short")]
)
def test_a_role_that_cannot_be_is_refused(tmp_path: Path, name: str, tenant: str, password: str) -> None:
    with pytest.raises(RolesError):
        roles.add(tmp_path / "roles.json", name, tenant, password)
    assert not (tmp_path / "roles.json").exists()


def test_a_roles_file_that_others_may_read_or_that_is_broken_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "roles.json"
    with pytest.raises(RolesError, match="is missing; make it with"):
        roles.load(path)
    write_roles(path)
    path.chmod(0o644)
    with pytest.raises(RolesError, match="chmod 600"):
        roles.load(path)
    path.chmod(0o600)
    path.write_text('{"roles": {"a": {"tenant": "acme", "verifier": "x"}}}')
    with pytest.raises(RolesError, match="verifier of a"):
        roles.load(path)
    path.write_text("{")
    with pytest.raises(RolesError, match="is no roles file"):
        roles.load(path)
    assert scram.MECHANISM in str(scram.make("x" * 12, iterations=4096))


def test_the_command_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    make_lake(tmp_path / "lake", commits=1, rows=50)
    write_roles(tmp_path / "roles.json")
    text = 'lake = "lake"\nprocess_mb = 2500\n[sql]\nroles = "roles.json"\nport = 0\nmemory_mb = 256\ntime_s = 60\n'
    config = written(tmp_path / "dashboards.toml", text)
    command = [sys.executable, "-W", "error", "-m", "dashboards", "serve", "--config", str(config)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ.copy()
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("sql: postgresql://127.0.0.1:"), process.stderr.read() if process.stderr else ""
        address = line.split()[1].removeprefix("postgresql://")
        with psycopg.connect(f"postgresql://admin:correct%20horse%20battery@{address}") as con:
            con.autocommit = True
            with pytest.raises(psycopg.errors.OutOfMemory):
                con.execute(GROWING)  # 6.4 GB of one text, outside of what DuckDB counts
            assert con.execute("SELECT count(*) FROM readings").fetchone() == (50,)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0, process.stderr.read() if process.stderr else ""
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_what_keeps_it_from_starting_is_told_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = written(tmp_path / "dashboards.toml", 'lake = "lake"\n')
    assert main(["serve", "--config", str(config)]) == 2
    assert "nothing is to be served" in capsys.readouterr().err
    written(config, 'lake = "lake"\n[sql]\nroles = "roles.json"\n')
    assert main(["serve", "--config", str(config)]) == 2
    assert "roles.json is missing" in capsys.readouterr().err
