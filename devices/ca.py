"""A small certificate authority for one operator: its key, certificates of gateways and servers, a revocation list.

``python -m devices ca make|sign|revoke``. All files lie in one folder: ``ca.key`` (0600, keep it offline), ``ca.pem`` for
everybody, ``crl.pem`` for the broker, ``issued.csv``: what was issued, and when it was revoked.
"""

import csv
import datetime
import ipaddress
import os
from pathlib import Path
from typing import Any, Final

from devices.signing import part, write_key
from devices.wire import is_name

CONSUMER: Final = "fleetco2-server"  # the name that the broker's rules let read everybody
CA_DAYS: Final = 3650
DAYS: Final = 90  # a stolen certificate ends soon; renew at half of it
CRL_DAYS: Final = 30  # the broker refuses everybody after that, so that a forgotten list is seen
_COLUMNS: Final = ("serial", "name", "tenant", "issued", "expires", "revoked")


def make_ca(folder: Path, name: str, *, now: datetime.datetime) -> Path:
    """Make the authority in ``folder`` unless it is there; gives ``ca.pem``. OSError, MissingPackageError."""
    x509, ec = part("x509"), part("hazmat.primitives.asymmetric.ec")
    serialization = part("hazmat.primitives.serialization")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not (folder / "ca.key").exists():
        write_key(folder / "ca.key", ec.generate_private_key(ec.SECP256R1()), serialization)
    if not (folder / "ca.pem").exists():
        key = _key(folder)
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        certificate = (
            _builder(subject, subject, key.public_key(), now, CA_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, part("hazmat.primitives.hashes").SHA256())
        )
        _replace(folder / "ca.pem", certificate.public_bytes(serialization.Encoding.PEM))
    write_crl(folder, now=now)
    return folder / "ca.pem"


def sign_request(
    folder: Path,
    request: bytes,
    *,
    tenant: str,
    now: datetime.datetime,
    days: int = DAYS,
    hosts: tuple[str, ...] = (),
    consumer: bool = False,
) -> bytes:
    """A certificate (PEM) for a request of ``enrol``. ValueError if its names do not fit.

    A gateway's common name is its id, because the broker takes it as the user name; its organisation must be ``tenant``.
    With ``hosts`` it is one of a broker, for these names and addresses; CONSUMER is given to the ``consumer`` only.
    """
    x509 = part("x509")
    asked = x509.load_pem_x509_csr(request)
    name = _text(asked.subject, x509.NameOID.COMMON_NAME)
    if not asked.is_signature_valid:
        raise ValueError("the request is not signed by its own key")
    if not is_name(name):
        raise ValueError(f"the request's common name {name!r} is not 3 to 40 of a-z, 0-9 and -")
    if (name == CONSUMER) != consumer:
        raise ValueError(f"{CONSUMER} is the consumer's name, and nobody else's; say --consumer for it")
    if _text(asked.subject, x509.NameOID.ORGANIZATION_NAME) != tenant:
        raise ValueError(f"the request's organisation is not {tenant!r}; was it made for another tenant?")
    key, issuer = _key(folder), x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    usage = x509.ExtendedKeyUsageOID.SERVER_AUTH if hosts else x509.ExtendedKeyUsageOID.CLIENT_AUTH
    builder = (
        _builder(asked.subject, issuer.subject, asked.public_key(), now, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_host(h) for h in hosts]), critical=False)
    certificate = builder.sign(key, part("hazmat.primitives.hashes").SHA256())
    rows = _issued(folder)
    expires = certificate.not_valid_after_utc.isoformat()
    rows.append(
        dict(zip(_COLUMNS, (f"{certificate.serial_number:x}", name, tenant, now.isoformat(), expires, ""), strict=True))
    )
    _write_issued(folder, rows)
    pem: bytes = certificate.public_bytes(part("hazmat.primitives.serialization").Encoding.PEM)
    return pem


def revoke(folder: Path, name: str, *, now: datetime.datetime) -> int:
    """Revoke every certificate of ``name`` and write the list anew; gives how many they were. ValueError if none."""
    rows = _issued(folder)
    found = [row for row in rows if row["name"] == name and not row["revoked"]]
    if not found:
        raise ValueError(f"{folder / 'issued.csv'} has no valid certificate of {name!r}")
    for row in found:
        row["revoked"] = now.isoformat()
    _write_issued(folder, rows)
    write_crl(folder, now=now)
    return len(found)


def write_crl(folder: Path, *, now: datetime.datetime) -> None:
    """Write ``crl.pem``, good for CRL_DAYS."""
    x509, serialization = part("x509"), part("hazmat.primitives.serialization")
    issuer = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(now - datetime.timedelta(minutes=5))
        .next_update(now + datetime.timedelta(days=CRL_DAYS))
    )
    for row in _issued(folder):
        if row["revoked"]:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(int(row["serial"], 16))
                .revocation_date(datetime.datetime.fromisoformat(row["revoked"]))
                .build()
            )
    crl = builder.sign(_key(folder), part("hazmat.primitives.hashes").SHA256())
    _replace(folder / "crl.pem", crl.public_bytes(serialization.Encoding.PEM))


def _builder(subject: Any, issuer: Any, public_key: Any, now: datetime.datetime, days: int) -> Any:
    x509 = part("x509")
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))  # a clock that is a little behind
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _usage(**on: bool) -> Any:
    names = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign crl_sign "
        "encipher_only decipher_only"
    )
    return part("x509").KeyUsage(**{name: on.get(name, False) for name in names.split()})


def _host(text: str) -> Any:
    x509 = part("x509")
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _text(name: Any, oid: Any) -> str:
    found = name.get_attributes_for_oid(oid)
    return str(found[0].value) if len(found) == 1 else ""


def _key(folder: Path) -> Any:
    return part("hazmat.primitives.serialization").load_pem_private_key((folder / "ca.key").read_bytes(), password=None)


def _issued(folder: Path) -> list[dict[str, str]]:
    path = folder / "issued.csv"
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _write_issued(folder: Path, rows: list[dict[str, str]]) -> None:
    temporary = folder / "issued.csv.new"
    with temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / "issued.csv")


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.write_bytes(data)
    temporary.replace(path)
