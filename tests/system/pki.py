"""An authority with the certificates of a broker, a consumer and gateways, and the shipped mosquitto.conf with them."""

import datetime
import getpass
import shutil
from pathlib import Path

from devices.ca import make_ca, sign_request
from devices.config import Tls
from devices.signing import enrol
from tests.support import ROOT

DEPLOY = ROOT / "ingest" / "deploy"


class Pki:
    """An authority of the tenant acme, and whom it knows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = datetime.datetime.now(datetime.UTC)
        make_ca(folder / "ca", "acme gateways", now=self.now)
        make_ca(folder / "stranger", "somebody else", now=self.now)
        self.issue("broker-1", hosts=("127.0.0.1", "localhost"))
        self.issue("fleetco2-server", consumer=True)

    def issue(
        self,
        name: str,
        *,
        ca: str = "ca",
        begun: datetime.timedelta = datetime.timedelta(),
        hosts: tuple[str, ...] = (),
        consumer: bool = False,
    ) -> Tls:
        home = self.folder / name
        request = enrol(name, "acme", home)["device.csr"].read_bytes()
        pem = sign_request(
            self.folder / ca, request, tenant="acme", now=self.now - begun, hosts=hosts, consumer=consumer
        )
        (home / "device.pem").write_bytes(pem)
        return Tls(ca=str(self.folder / "ca" / "ca.pem"), cert=str(home / "device.pem"), key=str(home / "device.key"))

    def batch_key(self, name: str) -> str:
        """The public key that batches of ``name`` are signed by, as the registry has it."""
        return (self.folder / name / "batch.pub").read_text().strip()


def shipped_config(folder: Path, pki: Pki, port: int) -> Path:
    """The shipped configuration for a broker in ``folder``; only paths, port and user are another one's."""
    home = folder / "mosquitto"
    home.mkdir()
    for name, source in (
        ("ca.pem", pki.folder / "ca" / "ca.pem"),
        ("crl.pem", pki.folder / "ca" / "crl.pem"),
        ("server.pem", pki.folder / "broker-1" / "device.pem"),
        ("server.key", pki.folder / "broker-1" / "device.key"),
        ("acl", DEPLOY / "acl"),
    ):
        shutil.copy(source, home / name)
        (home / name).chmod(0o600)
    text = (DEPLOY / "mosquitto.conf").read_text()
    text = text.replace("/etc/mosquitto/fleetco2/acme", str(home)).replace(
        "listener 8883", f"listener {port} 127.0.0.1"
    )
    text = text.replace("/var/lib/mosquitto/", f"{home}/") + f"user {getpass.getuser()}\n"
    (home / "mosquitto.conf").write_text(text)
    return home / "mosquitto.conf"
