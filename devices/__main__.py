"""Command of the gateway: ``python -m devices gateway --config gateway.toml``."""

import argparse
import asyncio
import logging
import os
import random
import signal
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from devices.config import Broker, ConfigError, GatewayConfig, Loaded, Tls, keys, load, password
from devices.core import Figures
from devices.counters import Counters
from devices.gateway import Gateway
from devices.signals import SIGNALS
from devices.source_csv import Options as CsvOptions
from devices.sources import Context, kinds, make

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


def main(arguments: list[str] | None = None) -> int:
    """Run the command; gives the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    given = _parser().parse_args(arguments)
    try:
        return int(given.run(given))
    except ConfigError as error:
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
    listing = commands.add_parser("sources", help="list the kinds of source that are installed")
    listing.set_defaults(run=_sources)
    signals = commands.add_parser("signals", help="list the signals with step and range, as CSV")
    signals.set_defaults(run=_signals)
    return parser


def _keys_text() -> str:
    lines = ["keys of gateway.toml:"]
    for prefix, struct in (("", GatewayConfig), ("broker.", Broker), ("broker.tls.", Tls)):
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
    gateway_sources = [make(s, _context(loaded, s.name, rng, counters)) for s in loaded.sources]
    if given.check:
        print(
            f"{loaded.where} is in order: {loaded.gateway.device}, sources {', '.join(s.name for s in loaded.sources)}"
        )
        return 0

    async def run() -> Figures:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        gateway = Gateway(
            loaded.gateway,
            gateway_sources,
            rng=rng,
            counters=counters,
            password=secret,
            base=loaded.base,
            software=_software(),
        )
        status = asyncio.create_task(_status(gateway, given.status))
        try:
            return await gateway.run(stop)
        finally:
            status.cancel()

    figures = asyncio.run(run())
    print(f"{figures.device} ended: {_line(figures)}", file=sys.stderr)
    for name, total in sorted(counters.snapshot().items()):
        detail = ", ".join(f"{label} {n}" for label, n in sorted(counters.by_label(name).items()))
        print(f"  {name} {total}" + (f" ({detail})" if detail else ""), file=sys.stderr)
    if figures.unconfirmed:
        text = f"{figures.unconfirmed} readings were not confirmed by the server and end here: the outbox is in memory"
        print(text, file=sys.stderr)
    return 0


def _context(loaded: Loaded, name: str, rng: random.Random, counters: Counters) -> Context:
    return Context(
        name=name, device=loaded.gateway.device, where=loaded.where, base=loaded.base, rng=rng, counters=counters
    )


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
