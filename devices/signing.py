"""Ed25519 and the identity of a device. Needs the package ``cryptography``, which is imported when it is used."""

import base64
import binascii
import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from devices.wire import is_name

EXTRA: Final = "enrol"
HEX_CHARS: Final = 64
Verify = Callable[[bytes, bytes], bool]
"""(message, signature) -> whether the key's holder signed it."""


class MissingPackageError(Exception):
    """``cryptography`` is not installed."""

    def __init__(self) -> None:
        super().__init__(f"the package cryptography is missing; it comes with: pip install 'fleetco2[{EXTRA}]'")


def part(name: str) -> Any:
    """A module of ``cryptography``. MissingPackageError."""
    try:
        return importlib.import_module(f"cryptography.{name}")
    except ModuleNotFoundError:
        raise MissingPackageError from None


def verifier(public_key: str) -> Verify:
    """Checks signatures of a public key: 32 bytes, base64 or hex. ValueError if it is none, MissingPackageError."""
    ed25519 = part("hazmat.primitives.asymmetric.ed25519")
    invalid = part("exceptions").InvalidSignature
    try:
        in_hex = len(public_key) == HEX_CHARS
        raw = bytes.fromhex(public_key) if in_hex else base64.b64decode(public_key, validate=True)
        key = ed25519.Ed25519PublicKey.from_public_bytes(raw)
    except (ValueError, binascii.Error):
        raise ValueError("is no Ed25519 public key of 32 bytes in base64 or hex") from None

    def verify(message: bytes, signature: bytes) -> bool:
        try:
            key.verify(signature, message)
        except invalid:
            return False
        return True

    return verify


def signer(private_key: Path) -> Callable[[bytes], bytes]:
    """Signs with the Ed25519 key of a PEM file, 64 bytes. ValueError if it holds none, OSError, MissingPackageError."""
    try:
        key = part("hazmat.primitives.serialization").load_pem_private_key(private_key.read_bytes(), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, part("hazmat.primitives.asymmetric.ed25519").Ed25519PrivateKey):
        raise ValueError(f"{private_key} holds no Ed25519 key")

    def sign_message(message: bytes) -> bytes:
        signature: bytes = key.sign(message)
        return signature

    return sign_message


def sign(private_key: Path, message: bytes) -> bytes:
    """Signature by the key of a PEM file; raises as ``signer``."""
    return signer(private_key)(message)


def make_ed25519(path: Path) -> str:
    """Make a key in ``path`` unless there is one; gives its public half in base64."""
    ed25519, serialization = part("hazmat.primitives.asymmetric.ed25519"), part("hazmat.primitives.serialization")
    if not path.exists():
        write_key(path, ed25519.Ed25519PrivateKey.generate(), serialization)
    public = serialization.load_pem_private_key(path.read_bytes(), password=None).public_key()
    return base64.b64encode(public.public_bytes_raw()).decode()


def enrol(device: str, tenant: str, out: Path) -> dict[str, Path]:
    """Keys of one device in ``out``: existing ones are kept, so that a certificate can be renewed.

    ``device.key`` EC P-256 for TLS, ``device.csr`` the request for its certificate (CN = device, O = tenant),
    ``batch.key`` Ed25519 for batches, ``batch.pub`` its public half in hex. Keys are readable by their owner only.
    Raises ValueError for a name that is none, OSError, MissingPackageError.
    """
    for text in (device, tenant):
        if not is_name(text):
            raise ValueError(f"{text!r} is not 3 to 40 of a-z, 0-9 and -")
    ec, serialization = part("hazmat.primitives.asymmetric.ec"), part("hazmat.primitives.serialization")
    x509, hashes = part("x509"), part("hazmat.primitives.hashes")
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    files = {name: out / name for name in ("device.key", "device.csr", "batch.key", "batch.pub")}
    if not files["device.key"].exists():
        write_key(files["device.key"], ec.generate_private_key(ec.SECP256R1()), serialization)
    key = serialization.load_pem_private_key(files["device.key"].read_bytes(), password=None)
    name = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, tenant),
            x509.NameAttribute(x509.NameOID.COMMON_NAME, device),
        ]
    )
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    files["device.csr"].write_bytes(request.public_bytes(serialization.Encoding.PEM))
    files["batch.pub"].write_text(base64.b64decode(make_ed25519(files["batch.key"])).hex() + "\n")
    return files


def write_key(path: Path, key: Any, serialization: Any) -> None:
    """Write a private key as PEM, readable by its owner only. FileExistsError if there is one."""
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
