"""A gateway runs with the base dependencies: no module of ``devices`` may need what only the server has."""

import subprocess
import sys
from pathlib import Path

import pytest

import devices

ROOT = Path(devices.__file__).parent.parent
MODULES = sorted(f"devices.{p.stem}" for p in Path(devices.__file__).parent.glob("*.py") if p.stem != "__init__")
SERVER_ONLY = ("numpy", "numba", "pyarrow", "duckdb", "deltalake", "rich", "grafana_client")
BLOCK = f"import sys; sys.modules.update(dict.fromkeys({SERVER_ONLY}))\n"  # None there makes an import fail


def run(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", BLOCK + code], capture_output=True, text=True, cwd=ROOT, check=False
    )


def test_the_blocker_blocks() -> None:
    assert "ModuleNotFoundError" in run("import numpy").stderr


@pytest.mark.parametrize("module", MODULES)
def test_each_module_is_importable_alone(module: str) -> None:
    done = run(f"import {module}")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_command_runs(tmp_path: Path) -> None:
    (tmp_path / "trip.csv").write_text("time,hdop\n1704067200,1\n")
    (tmp_path / "gateway.toml").write_text(
        'device = "truck-01"\ntenant = "acme"\n[broker]\nhost = "127.0.0.1"\n'
        '[[source]]\nkind = "csv"\npath = "trip.csv"\n'
    )
    arguments = ["gateway", "--check", "--config", str(tmp_path / "gateway.toml")]
    done = run(f"from devices.__main__ import main; sys.exit(main({arguments!r}))")
    assert (done.returncode, done.stderr) == (0, "")
    assert "is in order" in done.stdout


def test_nothing_is_imported_from_the_other_folders() -> None:
    imports = "\n".join(f"import {m}" for m in MODULES)
    others = ("ingest", "stream", "storage", "dashboards", "simulators")
    done = run(f"{imports}\nprint([m for m in sys.modules if m.split('.')[0] in {others}])")
    assert done.stdout.strip() == "[]"
