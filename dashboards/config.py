"""Configuration of the read side: ``dashboards.toml`` to one frozen struct. Paths are relative to the file."""

import ipaddress
import tomllib
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from dashboards.feed.config import FeedConfig
from dashboards.grafana.push import LiveConfig
from devices.config import ConfigError, convert

_PATHS: Final = ("roles", "tls_cert", "tls_key", "keys", "audit", "figures", "orders", "token_file")
Port = Annotated[int, Meta(ge=0, le=65535, description="0 = any that is free")]


class SqlConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The PostgreSQL-wire server. Limits are per query unless they say otherwise."""

    roles: Annotated[str, Meta(min_length=1, description="file that `python -m dashboards role add` writes")]
    listen: Annotated[str, Meta(min_length=1, description="address to listen on")] = "127.0.0.1"
    port: Port = 5433
    tls_cert: Annotated[str, Meta(description="PEM file with the certificate chain; needed beyond loopback")] = ""
    tls_key: Annotated[str, Meta(description="PEM file with its key")] = ""
    database: Annotated[str, Meta(pattern="^[a-z][a-z0-9_]{0,40}$", description="the name clients give")] = "fleetco2"
    time_s: Annotated[float, Meta(gt=0, le=600, description="longest a query may take, seconds")] = 15.0
    rows: Annotated[int, Meta(ge=1, le=10_000_000, description="most rows of a result")] = 1_000_000
    result_mb: Annotated[int, Meta(ge=1, le=1_024, description="most MB of a result as sent")] = 64
    memory_mb: Annotated[int, Meta(ge=64, le=1_048_576, description="MB that all queries of a tenant share")] = 1_024
    threads: Annotated[int, Meta(ge=0, le=256, description="threads for all queries of a tenant; 0 = all cores")] = 0
    at_once: Annotated[int, Meta(ge=0, le=256, description="short queries at once; 0 = cores + 2")] = 0
    long_at_once: Annotated[int, Meta(ge=1, le=64, description="queries over 1 s that give their place to others")] = 2
    queue: Annotated[int, Meta(ge=1, le=10_000, description="queries that may wait for a place")] = 500
    connections: Annotated[int, Meta(ge=1, le=10_000, description="connections at once")] = 300
    cache_s: Annotated[float, Meta(ge=0, le=60, description="how long the same answer is given again, seconds")] = 0.75


class HttpConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The HTTP server."""

    listen: Annotated[str, Meta(min_length=1, description="address to listen on")] = "127.0.0.1"
    port: Port = 8080
    tls_cert: Annotated[str, Meta(description="PEM file with the certificate chain; needed beyond loopback")] = ""
    tls_key: Annotated[str, Meta(description="PEM file with its key")] = ""


class PageConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The live page. It asks nobody who they are, so it listens on loopback only: put a proxy that does before it."""

    listen: Annotated[str, Meta(min_length=1, description="loopback address to listen on")] = "127.0.0.1"
    port: Port = 8090


class DashboardsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One read side. A part that is not named is not served."""

    lake: Annotated[str, Meta(min_length=1, description="folder that the consumer writes")]
    tenant: Annotated[
        str, Meta(pattern="^([a-z0-9-]{3,40})?$", description="owns the vehicles that the registry gives to nobody")
    ] = ""
    process_mb: Annotated[
        int, Meta(ge=0, description="MB of memory that the whole process may hold; above every memory_mb; 0 = no bound")
    ] = 8_192
    sql: SqlConfig | None = None
    http: HttpConfig | None = None
    feed: FeedConfig | None = None
    page: PageConfig | None = None
    grafana_live: LiveConfig | None = None


def load(path: Path) -> DashboardsConfig:
    """Read ``path`` and make its paths absolute. ConfigError naming file, key and mend."""
    where = str(path)
    try:
        tree: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(where, "", f"cannot be read: {error}; give the path of a TOML file") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(where, "", f"is not TOML: {error}") from None
    config = convert(tree, DashboardsConfig, where)
    if config.feed is not None and config.http is None:
        raise ConfigError(where, "http", "the feed is served over HTTP; write a part [http], it may be empty")
    base = path.resolve().parent
    for name, part in (("sql", config.sql), ("http", config.http)):
        if part is not None:
            _check_tls(where, name, part)
    if config.page is not None and not is_loopback(config.page.listen):
        mend = "the page shows all figures to whoever asks; listen on 127.0.0.1 and put a proxy with a login before it"
        raise ConfigError(where, "page.listen", mend)
    return msgspec.structs.replace(
        config,
        lake=str(base / config.lake),
        sql=_absolute(config.sql, base),
        http=_absolute(config.http, base),
        feed=_absolute(config.feed, base),
        grafana_live=_absolute(config.grafana_live, base),
    )


def _absolute(part: Any, base: Path) -> Any:
    if part is None:
        return None
    paths = {k: str(base / v) for k in _PATHS if (v := getattr(part, k, ""))}
    return msgspec.structs.replace(part, **paths)


def _check_tls(where: str, name: str, part: SqlConfig | HttpConfig) -> None:
    if bool(part.tls_cert) != bool(part.tls_key):
        raise ConfigError(where, f"{name}.tls_key", "tls_cert and tls_key go together; give both or neither")
    if not part.tls_cert and not is_loopback(part.listen):
        mend = "others would read passwords and figures on the wire; give tls_cert and tls_key, or listen on 127.0.0.1"
        raise ConfigError(where, f"{name}.listen", mend)


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches ``address``."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
