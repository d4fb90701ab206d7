"""The base dependencies alone make a gateway: installed as a wheel into an environment of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

UV = ROOT / "build" / "tools" / "bin" / "uv"
HEAVY = ("numpy", "numba", "pyarrow", "duckdb", "deltalake")


@pytest.mark.skipif(not UV.exists(), reason="uv is not in build/tools; `make setup` puts it there")
def test_a_gateway_runs_on_the_base_dependencies(tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    environment = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}

    def run(*command: str | Path) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    run(UV, "venv", "--quiet", "--python", sys.executable, tmp_path / "venv")
    run(UV, "pip", "install", "--quiet", "--python", python, ROOT)
    installed = run(UV, "pip", "list", "--python", python)
    assert "aiomqtt" in installed
    assert not [name for name in HEAVY if name in installed]
    config = tmp_path / "gateway.toml"
    config.write_text(
        'device = "gw-1"\ntenant = "acme"\n[broker]\nhost = "127.0.0.1"\n'
        '[[source]]\nkind = "simulated_vehicle"\n[[source]]\nkind = "simulated_warehouse"\nevery_s = 1\n'
    )
    told = run(python, "-m", "devices", "check", "--config", config, "--seconds", "3")
    assert "odometer_m" in told
