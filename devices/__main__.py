"""Commands of the gateway: ``python -m devices gateway --config gateway.toml``, and what a fitter and an operator need."""

import argparse
import asyncio
import base64
import logging
import os
import random
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TextIO

import msgspec

from devices import ca_command, fitter, health
from devices.actions import Figures
from devices.clock import Timekeeper, wall_ns
from devices.config import (
    Broker,
    ConfigError,
    GatewayConfig,
    Loaded,
    OutboxConfig,
    SourceConfig,
    Tls,
    keys,
    load,
    password,
    source_configs,
)
from devices.counters import Counters
from devices.gateway import Gateway, offer_time
from devices.install import install
from devices.notify import notify
from devices.outbox_folder import batch_signer, open_outbox, outbox_folder
from devices.remote_config import RemoteConfig, Signed, signed_bytes
from devices.signals import SIGNALS
from devices.signing import MissingPackageError, enrol, make_ed25519, sign, verifier
from devices.source_csv import Options as CsvOptions
from devices.sources import Context, Source, kinds, make, make_now_or_later
from devices.wire import is_name

_ABOUT = """\
Reads sensors, or replays a recording, and delivers the readings to the fleet's server through an MQTT broker.

Every reading is kept until the server says that it is on its disk; a lost connection is made again for ever. Ctrl-C or
SIGTERM sends what is left, says "offline" to the broker, and tells how many readings were not confirmed.
"""
_EXAMPLE = """\
example of gateway.toml:

  device = "truck-07"
  tenant = "acme"
  clock = "ntp"
  clock_error_ms = 50
  batch_key = "batch.key"   # made by: python -m devices enrol
  outbox = { folder = "outbox", max_mib = 64 }

  [broker]
  host = "broker.example"
  port = 8883
  username = "truck-07"
  password_env = "FLEETCO2_BROKER_PASSWORD"
  tls = { ca = "ca.pem" }

  [[source]]
  kind = "csv"
  path = "trip.csv"      # columns: time (ISO 8601 with zone, or seconds since 1970), then names of signals
  speed = 60             # a minute of the recording in a second
"""
_EXITS = """\
exit code: 0 ended in good order, 2 the configuration or the command line is wrong
"""
_CHECK = """\
Starts every source for a few seconds and says what it gives: value, age, and whether it can be. Sends nothing, and needs
no broker. Stop the gateway before: most sensors speak to one program at a time.

exit code: 0 every source gives values that can be, 1 a source is missing, silent or gives what cannot be, 2 the
configuration or the command line is wrong
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; gives the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    given = _parser().parse_args(arguments)
    try:
        return int(given.run(given))
    except (ConfigError, MissingPackageError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="python -m devices", description="The gateway of a truck or a warehouse.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    gateway = commands.add_parser(
        "gateway",
        help="run a gateway",
        description=_ABOUT,
        epilog="\n".join((_EXAMPLE, _keys_text(), _EXITS)),
        formatter_class=raw,
    )
    gateway.add_argument("--config", type=Path, required=True, metavar="FILE", help="TOML file, see below")
    gateway.add_argument("--check", action="store_true", help="check the configuration and its sources, then end")
    gateway.add_argument(
        "--status", type=float, default=60, metavar="SECONDS", help="seconds between status lines, 0 = none (60)"
    )
    gateway.set_defaults(run=_gateway)
    check = commands.add_parser(
        "check", help="say what each source gives right now", description=_CHECK, formatter_class=raw
    )
    check.add_argument("--config", type=Path, required=True, metavar="FILE", help="TOML file of the gateway")
    check.add_argument("--seconds", type=float, default=5, metavar="SECONDS", help="how long to listen (5)")
    check.set_defaults(run=_check)
    _add_operations(commands)
    ca_command.add_commands(commands)
    listing = commands.add_parser("sources", help="list the kinds of source that are installed")
    listing.set_defaults(run=_sources)
    signals = commands.add_parser("signals", help="list the signals with step and range, as CSV")
    signals.set_defaults(run=_signals)
    return parser


def _add_operations(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    put = commands.add_parser("install", help="write the systemd unit and a first configuration")
    put.add_argument(
        "--config", type=Path, required=True, metavar="FILE", help="where the configuration will be, absolute"
    )
    put.add_argument(
        "--root", type=Path, default=Path("/"), metavar="DIR", help="write below DIR, such as an image (/)"
    )
    put.add_argument("--device", default="change-me", metavar="ID", help="id of the gateway")
    put.add_argument("--tenant", default="change-me", metavar="T", help="whose fleet it is")
    put.set_defaults(run=_install)
    keys_of = commands.add_parser(
        "enrol", aliases=["enroll"], help="make the keys of a device and the request for its certificate"
    )
    keys_of.add_argument(
        "--device", required=True, metavar="ID", help="id of the gateway, becomes the certificate's CN"
    )
    keys_of.add_argument("--tenant", required=True, metavar="T", help="whose fleet it is, becomes its O")
    keys_of.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the files")
    keys_of.set_defaults(run=_enrol)
    operator = commands.add_parser(
        "operator-key", help="make the key that signs remote configuration, or show its public half"
    )
    operator.add_argument("--out", type=Path, required=True, metavar="FILE", help="PEM file; kept if it is there")
    operator.set_defaults(run=_operator_key)
    signing = commands.add_parser("sign-config", help="sign a configuration: the message for dn/config, retained")
    signing.add_argument("--key", type=Path, required=True, metavar="FILE", help="the operator's key")
    signing.add_argument("--tenant", required=True, metavar="T", help="whose fleet it is")
    signing.add_argument("--device", required=True, metavar="ID", help="the gateway it is for")
    signing.add_argument("--version", type=int, required=True, metavar="N", help="higher than any before")
    signing.add_argument("file", type=Path, metavar="TOML", help="what is to change")
    signing.set_defaults(run=_sign_config)


def _keys_text() -> str:
    lines = ["keys of gateway.toml:"]
    for prefix, struct in (
        ("", GatewayConfig),
        ("outbox.", OutboxConfig),
        ("broker.", Broker),
        ("broker.tls.", Tls),
    ):
        lines += [f"  {prefix + key:<21} {text} [{default}]" for key, default, text in keys(struct)]
    lines.append('keys of [[source]] with kind = "csv" (name = ... is for messages and counters):')
    lines += [f"  {key:<21} {text} [{default}]" for key, default, text in keys(CsvOptions)]
    return "\n".join(lines) + "\n"


def _gateway(given: argparse.Namespace) -> int:
    loaded = load(given.config)
    if not loaded.sources:
        raise ConfigError(loaded.where, "source", 'no source is configured; add [[source]] with kind = "csv" and path')
    secret = password(loaded.gateway.broker, os.environ, loaded.where)
    counters = Counters()
    rng = random.Random()  # noqa: S311  jitter only
    keeper = Timekeeper(counters) if loaded.gateway.clock == "auto" else None

    def context(name: str) -> Context:
        return _context(loaded, name, rng, counters, keeper)

    if given.check:
        for source in loaded.sources:
            make(source, context(source.name))
        _remote(loaded, counters, context)
        batch_signer(loaded)
        print(
            f"{loaded.where} is in order: {loaded.gateway.device}, sources {', '.join(s.name for s in loaded.sources)}"
        )
        return 0

    def make_source(source: SourceConfig) -> Source:
        return make_now_or_later(source, context(source.name))

    remote = _remote(loaded, counters, context)
    try:
        outbox = open_outbox(loaded.gateway, outbox_folder(loaded), batch_signer(loaded))
    except OSError as error:
        raise ConfigError(loaded.where, "outbox.folder", str(error)) from None
    if outbox.warning:
        logging.warning("outbox %s", outbox.warning)

    async def run() -> Figures:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        gateway = Gateway(
            loaded.gateway,
            [make_source(source) for source in loaded.sources],
            rng=rng,
            counters=counters,
            password=secret,
            base=loaded.base,
            software=_software(),
            clock=keeper,
            remote=remote,
            make_source=make_source,
            on_beat=lambda: notify("WATCHDOG=1"),
            ring=outbox.ring,
            recovered=outbox.recovered,
        )
        async with AsyncExitStack() as stack:
            if loaded.gateway.health_port:
                try:
                    await stack.enter_async_context(health.serve(loaded.gateway.health_port, gateway.health))
                except OSError as error:
                    raise ConfigError(loaded.where, "health_port", f"{error}; take another one") from None
            status = asyncio.create_task(_status(gateway, given.status))
            stack.callback(status.cancel)
            notify("READY=1")
            figures = await gateway.run(stop)
            notify("STOPPING=1")
            return figures

    figures = asyncio.run(run())
    print(f"{figures.device} ended: {_line(figures)}", file=sys.stderr)
    _print_counters(counters, sys.stderr)
    if figures.unconfirmed:
        text = f"{figures.unconfirmed} readings were not confirmed by the server and "
        text += "wait in the outbox" if figures.on_disk else "end here: the outbox is in memory"
        print(text, file=sys.stderr)
    return 0


def _context(
    loaded: Loaded, name: str, rng: random.Random, counters: Counters, keeper: Timekeeper | None = None
) -> Context:
    return Context(
        name=name,
        device=loaded.gateway.device,
        where=loaded.where,
        base=loaded.base,
        now_ns=wall_ns if keeper is None else keeper.now_ns,
        rng=rng,
        counters=counters,
    )


def _remote(loaded: Loaded, counters: Counters, context: Callable[[str], Context]) -> RemoteConfig | None:
    """What takes configuration from the server; None without the operator's key."""
    gateway = loaded.gateway
    if not gateway.config_key:
        return None
    try:
        verify = verifier(gateway.config_key)
    except (ValueError, MissingPackageError) as error:
        raise ConfigError(loaded.where, "config_key", str(error)) from None
    folder = gateway.state_dir or os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    if folder and not os.access(loaded.base / folder, os.W_OK):
        raise ConfigError(loaded.where, "state_dir", f"{loaded.base / folder} is no folder that can be written")

    def check(config: GatewayConfig) -> None:
        for source in source_configs(config, "dn/config"):
            make(source, context(source.name))

    return RemoteConfig(
        gateway, verify, counters=counters, check=check, folder=loaded.base / folder if folder else None
    )


def _check(given: argparse.Namespace) -> int:
    loaded = load(given.config)
    if not loaded.sources:
        raise ConfigError(loaded.where, "source", "no source is configured; add [[source]]")
    counters = Counters()
    keeper = Timekeeper(counters)
    rng = random.Random()  # noqa: S311  jitter only

    made: list[Source] = []

    def make_source(source: SourceConfig) -> Source:
        made.append(make(source, _context(loaded, source.name, rng, counters, keeper)))
        return made[-1]

    print(f"listening for {given.seconds:g} s ...", flush=True)
    found = asyncio.run(fitter.look(loaded.sources, make_source, given.seconds))
    for source in made:
        offer_time(source, keeper)
    for one in found:
        print("\n".join(fitter.report(one, keeper.now_ns)))
    state = keeper.state()
    bound = "error not known" if state.error_ms < 0 else f"error at most {state.error_ms} ms"
    print(f"clock: {state.source}, {bound}" if keeper.known else "clock: NOT KNOWN yet; readings wait until it is")
    _print_counters(counters, sys.stdout)
    return 0 if all(fitter.is_good(one, keeper.now_ns()) for one in found) else 1


def _install(given: argparse.Namespace) -> int:
    try:
        done = install(given.config, root=given.root, device=_name(given.device), tenant=_name(given.tenant))
    except (ValueError, OSError) as error:
        return _sorry(error)
    for path, what in done:
        print(f"{what:<9} {path}")
    if Path(sys.executable).resolve().is_relative_to("/root") or Path(sys.executable).resolve().is_relative_to("/home"):
        print(
            "note: this Python lies in a home folder, which the unit cannot see; install into /opt and run this again"
        )
    print(f"next: edit {given.config}, then: systemctl daemon-reload && systemctl enable --now fleetco2-gateway")
    return 0


def _enrol(given: argparse.Namespace) -> int:
    try:
        made = enrol(given.device, given.tenant, given.out)
    except (ValueError, OSError) as error:
        return _sorry(error)
    for path in made.values():
        print(path)
    print(
        "next: have device.csr signed (python -m devices ca sign), put batch.pub into the registry's column public_key;"
    )
    print("the keys stay here")
    return 0


def _operator_key(given: argparse.Namespace) -> int:
    try:
        print(f'config_key = "{make_ed25519(given.out)}"')
    except (ValueError, OSError) as error:
        return _sorry(error)
    return 0


def _sign_config(given: argparse.Namespace) -> int:
    try:
        text = given.file.read_text(encoding="utf-8")
        message = signed_bytes(_name(given.tenant), _name(given.device), given.version, text)
        signature = base64.b64encode(sign(given.key, message)).decode()
    except (ValueError, OSError) as error:
        return _sorry(error)
    print(msgspec.json.encode(Signed(version=given.version, config=text, signature=signature)).decode())
    return 0


def _name(text: str) -> str:
    if not is_name(text):
        raise ValueError(f"{text!r} is not 3 to 40 of a-z, 0-9 and -")
    return text


def _sorry(error: Exception) -> int:
    print(f"error: {error}", file=sys.stderr)
    return 2


def _print_counters(counters: Counters, file: TextIO) -> None:
    for name, total in sorted(counters.snapshot().items()):
        detail = ", ".join(f"{label} {n}" for label, n in sorted(counters.by_label(name).items()))
        print(f"  {name} {total}" + (f" ({detail})" if detail else ""), file=file)


def _software() -> str:
    try:
        return f"fleetco2 {version('fleetco2')}"
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "fleetco2"


async def _status(gateway: Gateway, every_s: float) -> None:
    while every_s > 0:
        await asyncio.sleep(every_s)
        figures = gateway.figures()
        link = "connected" if figures.connected else "not connected"
        logging.info("status device=%s %s: %s", figures.device, link, _line(figures))


def _line(f: Figures) -> str:
    return (
        f"readings {f.sent}, confirmed {f.confirmed}, unconfirmed {f.unconfirmed}, thinned {f.thinned}, "
        f"reconnects {f.reconnects}"
    )


def _sources(_: argparse.Namespace) -> int:
    for kind, entry in sorted(kinds().items()):
        print(f"{kind:<20} {entry.value}")
    return 0


def _signals(_: argparse.Namespace) -> int:
    print("number,name,step,low,high")
    for s in SIGNALS:
        print(f"{s.number},{s.name},{s.step},{s.low},{s.high}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
