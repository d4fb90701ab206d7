"""Commands of the certificate authority: ``python -m devices ca make``, ``sign``, ``revoke``, ``crl``."""

import argparse
import datetime
import sys
from pathlib import Path

from devices.ca import CRL_DAYS, DAYS, make_ca, revoke, sign_request, write_crl


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """``ca make``, ``ca sign``, ``ca revoke``, ``ca crl``."""
    group = commands.add_parser("ca", help="a small certificate authority: make it, sign, revoke")
    ways = group.add_subparsers(required=True, metavar="WHAT")
    for name, run, text in (
        ("make", _make, "make the authority"),
        ("sign", _sign, "sign a request of enrol"),
        ("revoke", _revoke, "revoke the certificates of a gateway"),
        ("crl", _crl, f"write the revocation list anew; it is good for {CRL_DAYS} days"),
    ):
        way = ways.add_parser(name, help=text, description=text)
        way.add_argument("--ca", type=Path, required=True, metavar="DIR", help="folder of the authority")
        if name == "make":
            way.add_argument("--name", default="fleetco2 gateways", help="its common name")
        if name == "sign":
            way.add_argument("--tenant", required=True, metavar="T", help="whose fleet it is")
            way.add_argument("--days", type=int, default=DAYS, help=f"how long it is good ({DAYS})")
            way.add_argument("--host", action="append", default=[], help="of a server: name or address, repeatable")
            way.add_argument("--consumer", action="store_true", help="of the consumer, which reads all gateways")
            way.add_argument("--out", type=Path, required=True, metavar="FILE", help="the certificate")
            way.add_argument("request", type=Path, metavar="CSR", help="device.csr")
        if name == "revoke":
            way.add_argument("--device", required=True, metavar="ID", help="the gateway")
        way.set_defaults(run=run)


def _make(given: argparse.Namespace) -> int:
    try:
        print(make_ca(given.ca, given.name, now=_now()))
    except OSError as error:
        return _sorry(error)
    print(f"next: keep {given.ca / 'ca.key'} offline; the broker needs ca.pem and crl.pem")
    return 0


def _sign(given: argparse.Namespace) -> int:
    try:
        pem = sign_request(
            given.ca,
            given.request.read_bytes(),
            tenant=given.tenant,
            now=_now(),
            days=given.days,
            hosts=tuple(given.host),
            consumer=given.consumer,
        )
        given.out.write_bytes(pem)
    except (ValueError, OSError) as error:
        return _sorry(error)
    print(given.out)
    return 0


def _revoke(given: argparse.Namespace) -> int:
    try:
        n = revoke(given.ca, given.device, now=_now())
    except (ValueError, OSError) as error:
        return _sorry(error)
    print(
        f"{n} revoked. Next, without a restart: copy {given.ca / 'crl.pem'} to the broker and send it SIGHUP (no new login);"
    )
    print(
        f'  add "user {given.device}" and "topic deny #" to the end of its acl before that (a connection that stands is mute);'
    )
    print(
        f'  add "{given.device}" to the file that fleet.toml names as revoked (the consumer refuses it within seconds)'
    )
    return 0


def _crl(given: argparse.Namespace) -> int:
    try:
        write_crl(given.ca, now=_now())
    except OSError as error:
        return _sorry(error)
    print(given.ca / "crl.pem")
    return 0


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _sorry(error: Exception) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 2
