"""Configuration of the consumer: ``fleet.toml`` to one frozen struct."""

import datetime
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from devices.config import Broker, ConfigError, checked_tls, convert

_NAME: Final = "^[a-z0-9-]{3,40}$"


class CommitConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When what has arrived is put on disk."""

    flush_s: Annotated[float, Meta(ge=0.02, le=30, description="longest wait before a commit, seconds, 0.02 to 30")] = (
        0.5
    )
    max_messages: Annotated[
        int,
        Meta(
            ge=1, le=20_000, description="messages in one commit at most, 1 to 20000; MQTT receive maximum: twice that"
        ),
    ] = 2_000
    most_readings_per_s: Annotated[
        int,
        Meta(
            ge=0,
            description="readings taken per second at most, so that a backlog leaves room for others; 0 = no limit",
        ),
    ] = 0


class FleetConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One consumer. Paths are relative to the configuration file."""

    tenants: Annotated[
        tuple[Annotated[str, Meta(pattern=_NAME)], ...], Meta(min_length=1, description='list of tenants, ["acme"]')
    ]
    registry: Annotated[str, Meta(min_length=1, description="folder with vehicles.csv, warehouses.csv and routes.csv")]
    lake: Annotated[str, Meta(min_length=1, description="folder that the Parquet goes into; made when absent")]
    broker: Broker
    factor_set: Annotated[str, Meta(min_length=1, description="name of a file in stream/factor_sets, without .csv")] = (
        "fleetco2-2025.2"
    )
    client_id: Annotated[
        str, Meta(pattern=_NAME, description="MQTT client id, fixed for ever: it owns the session")
    ] = "fleetco2-server"
    earliest: Annotated[
        datetime.date, Meta(description="readings dated before this day are quarantined; a date without quotes")
    ] = datetime.date(2024, 1, 1)
    metrics_port: Annotated[
        int, Meta(ge=0, le=65535, description="loopback port of /metrics (Prometheus text); 0 = none")
    ] = 0
    require_signatures: Annotated[
        bool, Meta(description="refuse gateways without public_key in the registry; those with one must sign anyway")
    ] = False
    revoked: Annotated[
        str,
        Meta(description="file of device ids to refuse, one a line; read again when it changes; blank = none"),
    ] = ""
    hole_s: Annotated[
        float, Meta(ge=1, le=86_400, description="seconds until missing readings are asked for, 1 to 86400")
    ] = 600
    hole_lost_s: Annotated[
        float,
        Meta(
            ge=1, le=2_592_000, description="seconds until they count as lost although the gateway speaks, 1 to 2592000"
        ),
    ] = 3600
    commit: CommitConfig = CommitConfig()

    @property
    def earliest_ns(self) -> int:
        """``earliest`` as ns since 1970, UTC."""
        midnight = datetime.datetime.combine(self.earliest, datetime.time(), datetime.UTC)
        return int(midnight.timestamp()) * 1_000_000_000


def load(path: Path) -> FleetConfig:
    """Read ``path`` and make its paths absolute. ConfigError naming file, key and mend."""
    where = str(path)
    try:
        tree: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(where, "", f"cannot be read: {error}; give the path of a TOML file") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(where, "", f"is not TOML: {error}") from None
    config = convert(tree, FleetConfig, where)
    base = path.resolve().parent
    if config.broker.tls is not None:
        tls = checked_tls(config.broker.tls, base, where)
        files = {key: str(base / name) for key in ("ca", "cert", "key") if (name := getattr(tls, key))}
        broker = msgspec.structs.replace(config.broker, tls=msgspec.structs.replace(tls, **files))
        config = msgspec.structs.replace(config, broker=broker)
    revoked = str(base / config.revoked) if config.revoked else ""
    return msgspec.structs.replace(
        config, registry=str(base / config.registry), lake=str(base / config.lake), revoked=revoked
    )
