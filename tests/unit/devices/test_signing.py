"""Keys of a device and the operator, with the real library and checked by openssl where it is installed."""

import base64
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from devices.__main__ import main
from devices.remote_config import signed_bytes
from devices.signing import MissingPackageError, enrol, make_ed25519, sign, verifier

ROOT = Path(__file__).resolve().parents[3]
RFC8032_PUBLIC = bytes.fromhex(
    "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
)  # section 7.1, test 2
RFC8032_SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


@pytest.fixture
def _library() -> None:
    pytest.importorskip("cryptography", reason="the package cryptography (extra enrol) is not installed")


@pytest.mark.usefixtures("_library")
def test_a_published_signature() -> None:
    verify = verifier(base64.b64encode(RFC8032_PUBLIC).decode())
    assert verify(b"\x72", RFC8032_SIGNATURE)
    assert not verify(b"\x73", RFC8032_SIGNATURE)
    assert not verify(b"\x72", RFC8032_SIGNATURE[:-1] + b"\x01")
    assert not verify(b"\x72", b"")


@pytest.mark.usefixtures("_library")
@pytest.mark.parametrize("text", ["", "AAAA", "no base64!", base64.b64encode(bytes(33)).decode()])
def test_a_key_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no Ed25519 public key"):
        verifier(text)


@pytest.mark.usefixtures("_library")
def test_enrolling_makes_keys_for_their_owner_only_and_keeps_them(tmp_path: Path) -> None:
    made = enrol("truck-01", "acme", tmp_path / "keys")
    assert sorted(made) == ["batch.key", "batch.pub", "device.csr", "device.key"]
    for name in ("device.key", "batch.key"):
        assert stat.S_IMODE(made[name].stat().st_mode) == 0o600
    before = {name: path.read_bytes() for name, path in made.items() if name != "device.csr"}
    assert enrol("truck-01", "acme", tmp_path / "keys") == made
    assert {name: made[name].read_bytes() for name in before} == before
    public = made["batch.pub"].read_text().strip()
    assert verifier(public)(b"a batch", sign(made["batch.key"], b"a batch"))
    with pytest.raises(ValueError, match="no Ed25519 key"):
        sign(made["device.key"], b"a batch")


@pytest.mark.usefixtures("_library")
def test_openssl_reads_the_request(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed on this machine")
    made = enrol("truck-01", "acme", tmp_path)
    command = [openssl, "req", "-in", str(made["device.csr"]), "-noout", "-verify", "-subject", "-text"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.search(r"O ?= ?acme, CN ?= ?truck-01", done.stdout)
    assert "prime256v1" in done.stdout
    assert "verify OK" in done.stdout + done.stderr


@pytest.mark.usefixtures("_library")
def test_names_that_are_none_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["enrol", "--device", "Truck/#", "--tenant", "acme", "--out", str(tmp_path / "keys")]) == 2
    assert "is not 3 to 40" in capsys.readouterr().err
    assert not (tmp_path / "keys").exists()


@pytest.mark.usefixtures("_library")
def test_the_operator_s_commands_make_a_message_that_the_gateway_believes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "operator.key"
    assert main(["operator-key", "--out", str(key)]) == 0
    line = capsys.readouterr().out
    public = re.fullmatch(r'config_key = "(.+)"\n', line)
    assert public is not None
    assert make_ed25519(key) == public[1]
    (tmp_path / "new.toml").write_text("batch_s = 20\n")
    names = ["--tenant", "acme", "--device", "truck-01", "--version", "3"]
    assert main(["sign-config", "--key", str(key), *names, str(tmp_path / "new.toml")]) == 0
    said = re.fullmatch(r'\{"version":3,"config":"batch_s = 20\\n","signature":"(.+)"\}\n', capsys.readouterr().out)
    assert said is not None
    message = signed_bytes("acme", "truck-01", 3, "batch_s = 20\n")
    assert verifier(public[1])(message, base64.b64decode(said[1]))


def test_without_the_library_it_is_named() -> None:
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from devices.__main__ import main\n"
        "sys.exit(main(['enrol', '--device', 'truck-01', '--tenant', 'acme', '--out', 'nowhere']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (2, f"error: {MissingPackageError()}\n")
