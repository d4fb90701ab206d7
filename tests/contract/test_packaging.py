"""Our import names are ours alone, and the layers hold."""

import subprocess
import sys
from importlib.metadata import packages_distributions

from tests.support import ROOT

OURS = ("devices", "ingest", "stream", "storage", "dashboards", "simulators")


def test_nobody_else_owns_our_names() -> None:
    owners = packages_distributions()
    for name in OURS:
        assert set(owners.get(name, ["fleetco2"])) == {"fleetco2"}


def test_import_contracts() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_package_is_a_docstring() -> None:
    for name in OURS:
        text = (ROOT / name / "__init__.py").read_text(encoding="utf-8").strip()
        assert text.startswith('"""')
        assert text.endswith('"""')
        assert text.count('"""') == 2
