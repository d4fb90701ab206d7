"""The demo's SQL role: a password of its own in a file that only its owner may read, and lines that work."""

import shlex
from pathlib import Path

import pytest

from dashboards.__main__ import main
from dashboards.sql import roles, scram
from simulators.server_process import ReadSide, sql_role


def test_the_role_has_a_password_of_its_own(tmp_path: Path) -> None:
    seen = set()
    for _ in range(2):
        path = sql_role(tmp_path, 5433)
        assert path.stat().st_mode & 0o777 == 0o600
        host, port, database, user, password = path.read_text().strip().split(":")
        assert (host, port, database, user) == ("127.0.0.1", "5433", "fleetco2", "grafana")
        role = roles.load(tmp_path / "roles.json")["grafana"]
        assert role.tenant == "demo"
        known = scram.read(role.verifier)
        assert known == scram.make(password, salt=known.salt, iterations=known.iterations)
        seen.add(password)
    assert len(seen) == 2
    assert all(len(password) >= 24 for password in seen)


def test_what_is_printed_names_no_password_and_options_that_there_are(tmp_path: Path) -> None:
    path = sql_role(tmp_path, 5433)
    psql, grafana = ReadSide("http://127.0.0.1:1/", 5433, path).how_to_connect()
    password = path.read_text().strip().rpartition(":")[2]
    assert password not in psql + grafana
    words = shlex.split(grafana.partition("python -m dashboards ")[2])
    with pytest.raises(SystemExit) as ended:  # argparse knows every option, and shows its help
        main([*words, "--help"])
    assert ended.value.code == 0
    assert f"PGPASSFILE={path}" in psql
