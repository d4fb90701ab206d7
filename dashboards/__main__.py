"""``python -m dashboards ...``: the read side of a lake: SQL for any PostgreSQL client, the regulator's feed over HTTP."""

import argparse
import asyncio
import getpass
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dashboards.config import load
from dashboards.feed import command as feed_command
from dashboards.grafana import command as grafana_command
from dashboards.serve import serve
from dashboards.sql import roles
from dashboards.sql.roles import RolesError
from devices.config import ConfigError
from storage.errors import StorageError

PASSWORD: Final = "FLEETCO2_SQL_PASSWORD"  # noqa: S105  the name of a variable
_EPILOG: Final = f"""\
dashboards.toml:
  lake = "lake"
  tenant = "acme"          # owns the vehicles that the registry gives to nobody
  [sql]
  roles = "roles.json"     # python -m dashboards role add grafana --tenant acme
  listen = "127.0.0.1"     # beyond loopback: tls_cert and tls_key
  port = 5433
  [http]
  port = 8080
  [feed]
  keys = "keys.json"       # python -m dashboards keys add "Ministry" --tenant acme
  [page]                   # the live page, on loopback
  port = 8090
  [grafana_live]           # off unless given: pushes to Grafana Live
  url = "http://127.0.0.1:3000"
  token_file = "grafana.token"

The password of a role comes from {PASSWORD} or is asked for. Then: psql -h 127.0.0.1 -p 5433 -U grafana fleetco2
"""


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m dashboards",
        description="The read side: SQL over the lake for PostgreSQL clients, and the regulator's feed over HTTP.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serving = commands.add_parser("serve", help="answer until Ctrl-C")
    serving.add_argument("--config", type=Path, default=Path("dashboards.toml"), help="default: dashboards.toml")
    role = commands.add_parser("role", help="who may ask: add, list, remove").add_subparsers(
        dest="action", required=True, metavar="ACTION"
    )
    for action, text in (
        ("add", "add a role, or give it a new password"),
        ("remove", "remove a role"),
        ("list", "roles and tenants"),
    ):
        one = role.add_parser(action, help=text)
        if action != "list":
            one.add_argument("name", help="a-z, 0-9, _ and -")
        if action == "add":
            one.add_argument("--tenant", required=True, help="whose rows it sees; * = all")
        one.add_argument("--roles", type=Path, default=Path("roles.json"), help="roles file; default: roles.json")
    feed_command.add_arguments(commands)
    grafana_command.add_arguments(commands)
    return parser.parse_args(words)


def _serve(arguments: argparse.Namespace) -> int:
    config = load(arguments.config)
    if config.sql is None and config.http is None and config.page is None:
        raise ConfigError(str(arguments.config), "sql", "nothing is to be served; write a part [sql], [http] or [page]")
    asyncio.run(serve(config, lambda line: print(line, flush=True)))
    return 0


def _role(arguments: argparse.Namespace) -> int:
    match arguments.action:
        case "list":
            for name, role in roles.load(arguments.roles).items():
                print(f"{name:20} {role.tenant}")
        case "remove":
            roles.remove(arguments.roles, arguments.name)
        case _:
            password = os.environ.get(PASSWORD) or getpass.getpass(f"password of {arguments.name}: ")
            roles.add(arguments.roles, arguments.name, arguments.tenant, password)
            print(
                f"{arguments.roles}: role {arguments.name} sees {'all tenants' if arguments.tenant == '*' else arguments.tenant}"
            )
    return 0


_COMMANDS: Final = {
    "serve": _serve,
    "role": _role,
    "keys": feed_command.keys,
    "publish": feed_command.publish,
    "grafana": grafana_command.grafana,
}


def main(words: Sequence[str] | None = None) -> int:
    """Exit code 0, or 2 for a configuration, role or lake that cannot be used."""
    arguments = _arguments(words)
    try:
        return _COMMANDS[arguments.command](arguments)
    except (ConfigError, RolesError, StorageError, *feed_command.ERRORS, *grafana_command.ERRORS, OSError) as error:
        print(f"dashboards: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
