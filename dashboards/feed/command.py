"""``python -m dashboards keys ...`` and ``publish``: who may ask, and what is published."""

import argparse
import time
from pathlib import Path
from typing import Any, Final

from dashboards.config import load as load_config
from dashboards.feed import keys as key_file
from dashboards.feed.archive import ArchiveError
from dashboards.feed.keys import ALL, DEFAULT_DAYS, DETAILS, KeyFileError
from dashboards.feed.orders import OrdersError
from dashboards.feed.periods import PeriodError, iso, parse
from dashboards.feed.problem import ProblemError
from dashboards.feed.publish import PUBLISHED_BY, PublishError, publish_orders, sealed_feed
from dashboards.feed.publish import publish as publish_figures
from devices.config import ConfigError

ERRORS: Final = (KeyFileError, ArchiveError, OrdersError, PeriodError, PublishError, ProblemError, ValueError)


def add_arguments(commands: Any) -> None:
    """The subcommands of the feed."""
    keys = commands.add_parser("keys", help="who may ask the feed: add, list, revoke").add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    adding = keys.add_parser("add", help="make a key and show it once")
    adding.add_argument("name", help="whose key it is")
    adding.add_argument("--tenant", action="append", required=True, help="operator it sees; again for more; * = all")
    adding.add_argument("--region", action="append", default=None, help="only these regions; default: all")
    adding.add_argument(
        "--detail",
        choices=DETAILS,
        default="totals",
        help="totals: operators and regions; routes: also route groups and warehouses; vehicles: everything. Default: totals",
    )
    adding.add_argument("--days", type=int, default=DEFAULT_DAYS, help=f"how long it holds; default: {DEFAULT_DAYS}")
    listing = keys.add_parser("list", help="ids, names, rights and ends of all keys")
    revoking = keys.add_parser("revoke", help="end a key at once")
    revoking.add_argument("id", help="id of the key, as 'list' shows it")
    for one in (adding, listing, revoking):
        one.add_argument("--keys", type=Path, default=Path("keys.json"), help="key file; default: keys.json")
    publishing = commands.add_parser(
        "publish", help="publish the closed figures of a period, as of the newest sealed hour"
    )
    publishing.add_argument("--config", type=Path, default=Path("dashboards.toml"), help="default: dashboards.toml")
    publishing.add_argument("--from", dest="first", required=True, help="UTC, 2026-11 or 2026-11-01")
    publishing.add_argument("--to", dest="end", help="UTC, not part of the period; default: the month of --from")
    publishing.add_argument("--by", choices=(*PUBLISHED_BY, "order"), action="append", help="default: all but vehicle")
    publishing.add_argument("--tenant", help="only this operator")
    publishing.add_argument("--factor-set", help="default: the one with the newest results")


def keys(arguments: argparse.Namespace) -> int:
    """Exit code 0. Raises KeyFileError, ValueError, OSError."""
    path, now_ns = arguments.keys, time.time_ns()
    if arguments.action == "add":
        key, text = key_file.make(
            arguments.name,
            tenants=arguments.tenant,
            regions=arguments.region or (ALL,),
            detail=arguments.detail,
            now_ns=now_ns,
            days=arguments.days,
        )
        key_file.save(path, [*key_file.load(path).values(), key])
        print(f"{path}: key {key.id} for {key.name}, detail {key.detail}, until {iso(key.expires_ns)}. Shown once:")
        print(text)
    elif arguments.action == "revoke":
        ended = key_file.revoke(path, arguments.id, now_ns)
        print(f"{path}: key {ended.id} of {ended.name} ends now")
    else:
        for key in key_file.load(path).values():
            ends = "revoked" if key.revoked_ns is not None else f"until {iso(key.expires_ns)}"
            print(
                f"{key.id}  {key.name:30} {key.detail:8} tenants {','.join(key.tenants)}  regions {','.join(key.regions)}  {ends}"
            )
    return 0


def publish(arguments: argparse.Namespace) -> int:
    """Exit code 0; 1 where something was refused. Raises ConfigError, PublishError, PeriodError, ArchiveError, StorageError."""
    config = load_config(arguments.config)
    if config.feed is None:
        raise ConfigError(str(arguments.config), "feed", 'is missing; write a part [feed] with keys = "keys.json"')
    period = parse(arguments.first, arguments.end, time.time_ns())
    feed = sealed_feed(Path(config.lake), config.tenant or "operator", config.feed, time.time_ns)
    refused = 0
    try:
        for by in arguments.by or [b for b in PUBLISHED_BY if b != "vehicle"]:
            cursor = feed.reader.cursor()
            found = (
                publish_orders(feed, cursor, asked_set=arguments.factor_set, orders=feed.orders)
                if by == "order"
                else publish_figures(feed, cursor, by, period, asked_set=arguments.factor_set, tenant=arguments.tenant)
            )
            for outcome in found:
                refused += outcome.what.startswith("refused")
                print(f"{by:12} {outcome.name:20} {outcome.id or '':36} {outcome.what}", flush=True)
    finally:
        feed.reader.close()
    return 1 if refused else 0
