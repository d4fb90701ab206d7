"""``python -m ingest --config fleet.toml``: the consumer."""

import argparse
import gc
import logging
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from devices.config import ConfigError, password
from devices.counters import Counters
from devices.wire import Sample, encode_batch, topic
from ingest.config import FleetConfig, load
from ingest.core import ConsumerCore
from ingest.decode import Message, decode
from ingest.metrics import prometheus_text, serve
from ingest.revoked import RevokedList
from ingest.service import Service
from ingest.signatures import Signatures
from ingest.transport import Link
from storage.errors import StorageError
from storage.factor_files import class_table, factor_set
from storage.lake import Lake
from storage.memory import keep_freed_memory
from storage.registry import RegistryError, load_registry, write_dimensions
from stream.factors import FactorError
from stream.fleet import Fleet, Vehicle, Warehouse, build_fleet
from stream.pipeline import State, start, step
from stream.state import StateError

LEAVES = ("up/readings", "up/json", "up/state", "up/gone")
_EPILOG = """\
fleet.toml:
  tenants = ["acme"]
  registry = "registry"            # folder with vehicles.csv, warehouses.csv, routes.csv
  lake = "lake"                    # folder for the Parquet, made when absent
  factor_set = "fleetco2-2025.2"
  earliest = 2024-01-01            # readings dated before are quarantined
  metrics_port = 9464              # http://127.0.0.1:9464/metrics, 0 = none
  revoked = "revoked.txt"          # ids of gateways to refuse, one a line; read again when it changes
  require_signatures = false       # gateways with public_key in the registry must sign in any case
  [broker]
  host = "localhost"
  port = 1883
  username = "server"
  password_env = "FLEETCO2_PASSWORD"   # name of the variable, never the password
  # or, with certificates: tls = { ca = "ca.pem", cert = "server.pem", key = "server.key" }
  [commit]
  flush_s = 0.5                    # longest wait before a commit
  max_messages = 2000              # in one commit at most; twice that are on their way
  most_readings_per_s = 0          # taken at most, so that a backlog leaves room for others; 0 = no limit

A message is acknowledged after its readings are on disk. What cannot be read is kept in the table quarantine.
Ctrl-C commits what was taken and ends.
"""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m ingest",
        description="Take telemetry from the broker, compute emissions, land both as Parquet, then acknowledge.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, required=True, help="the consumer's TOML file")
    parser.add_argument("--verbose", action="store_true", help="log connections too")
    return parser.parse_args()


def _load_kernels(fleet: Fleet, state: State) -> None:
    """Decode and step one made-up reading, so that the first real one does not wait for compiled code to be loaded."""
    if not fleet.devices:
        return
    device = fleet.devices[0]
    frame = encode_batch(device, 1, 0, [Sample(0, {"speed_kmh": 0.0})])
    message = Message(topic("kernels", device, "up/readings"), frame, 0)
    step(state, decode([message], fleet.device_index, {"kernels"}, earliest_ns=0).columns)


def _run(config: FleetConfig, secret: str | None) -> None:
    factors = factor_set(config.factor_set)
    registry = load_registry(Path(config.registry))
    fleet = build_fleet(
        registry.vehicles,
        registry.warehouses,
        registry.routes,
        factors,
        class_table(),
        registry.places,
        registry.regions,
        market=registry.market,
    )
    counters = Counters()
    fitted: list[Vehicle | Warehouse] = [*registry.vehicles, *registry.warehouses]
    keys = {t.device: t.public_key for t in fitted if t.public_key}
    revoked = RevokedList(Path(config.revoked)) if config.revoked else None
    with Lake.open(Path(config.lake), create=True) as lake:
        _, stored = lake.recover()
        write_dimensions(lake, registry)
        topics = [f"fleet/v1/{t}/+/{leaf}" for t in config.tenants for leaf in LEAVES]
        link = Link(config.broker, config.client_id, secret, topics, 2 * config.commit.max_messages, time.time_ns)
        state = start(fleet, stored)
        _load_kernels(fleet, state)
        core = ConsumerCore(config, fleet, state, counters, Signatures(keys, required=config.require_signatures))
        service = Service(config, core, lake, link, counters, time.time_ns, revoked)
        metrics = None
        if config.metrics_port:
            windows = {
                "receive_to_commit": service.receive_to_commit,
                "reading_to_commit": service.reading_to_commit,
                "commit": service.commit_time,
            }
            metrics = serve(
                config.metrics_port,
                lambda: prometheus_text(counters, windows, service.gauges()),
            )
        ended = False

        def end(_: int, __: FrameType | None) -> None:
            nonlocal ended
            ended = True

        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        link.start()
        gc.collect()
        gc.freeze()  # what is there now stays: looking through it again and again cost a tenth of the time of a loaded consumer
        try:
            service.run(lambda: ended)
        finally:
            link.stop()
            if metrics is not None:
                metrics.shutdown()
    stored_now = counters["readings_stored"]
    print(f"ended: {stored_now} readings stored, {counters['rejected']} messages rejected, lake {config.lake}")


def main() -> int:
    """Exit code 0 after a clean end, 2 for a configuration or lake that cannot be used."""
    arguments = _arguments()
    level = logging.INFO if arguments.verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    keep_freed_memory()
    try:
        config = load(arguments.config)
        _run(config, password(config.broker, os.environ, str(arguments.config)))
    except (ConfigError, RegistryError, StorageError, StateError, FactorError, ValueError) as error:
        print(f"ingest: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"ingest: {error}; see metrics_port and lake in {arguments.config}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
