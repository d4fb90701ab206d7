"""``python -m dashboards grafana build|check|apply``."""

import argparse
import json
import os
from pathlib import Path
from typing import Any, Final

import niquests
from grafana_client.client import GrafanaException

from dashboards.grafana.push import read_token

SQL_PASSWORD: Final = "FLEETCO2_SQL_PASSWORD"  # noqa: S105  the name of a variable
ERRORS: Final = (GrafanaException, niquests.exceptions.RequestException)


def add_arguments(commands: Any) -> None:
    """The subcommands."""
    grafana = commands.add_parser(
        "grafana",
        help="dashboards and alerts of Grafana: build, check, apply",
        description="Dashboards, alert rules, data source and contact point as code.",
        epilog=f"apply: the password of the SQL role comes from {SQL_PASSWORD}. A second apply changes nothing.",
    ).add_subparsers(dest="action", required=True, metavar="ACTION")
    grafana.add_parser("build", help="write the generated files anew")
    grafana.add_parser("check", help="say what is wrong with a dashboard, or that a file is behind")
    applying = grafana.add_parser("apply", help="bring a running Grafana up to this code")
    applying.add_argument("--url", required=True, help="address of Grafana, e.g. http://127.0.0.1:3000")
    applying.add_argument(
        "--token-file", type=Path, required=True, help="file with a token of an administrator; mode 0600"
    )
    applying.add_argument(
        "--sql", default="127.0.0.1:5433", help="SQL server as Grafana reaches it; default: 127.0.0.1:5433"
    )
    applying.add_argument("--sql-user", default="grafana", help="role of the SQL server; default: grafana")
    applying.add_argument("--no-sql-tls", action="store_true", help="the SQL server has no TLS (loopback)")
    applying.add_argument(
        "--contact", help="e-mail address or webhook URL that alerts go to; without it the default policy's"
    )
    applying.add_argument("--dry-run", action="store_true", help="say what would change")


def grafana(arguments: argparse.Namespace) -> int:
    """Run ``build``, ``check`` or ``apply``; the exit code."""
    from dashboards.grafana import build  # the SDK takes a moment, and other commands do not need it

    match arguments.action:
        case "build":
            for path in build.write():
                print(path)
            return 0
        case "check":
            return _check()
        case _:
            return _apply(arguments)


def _check() -> int:
    from dashboards.grafana import build, lint
    from dashboards.grafana.parts import BOARDS

    uids = frozenset(BOARDS)
    found = [p for text in build.dashboards().values() for p in lint.problems(json.loads(text), uids)]
    for name, text in build.files().items():
        path = build.FILES / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            found.append(f"{path} is behind; run python -m dashboards grafana build")
    print("\n".join(found) or f"{len(uids)} dashboards and {len(build.provisioning())} provisioning files are in order")
    return 1 if found else 0


def _apply(arguments: argparse.Namespace) -> int:
    from grafana_client.api import GrafanaApi

    from dashboards.grafana import build
    from dashboards.grafana.provision import SqlServer, apply

    token = read_token(arguments.token_file)
    password = os.environ.get(SQL_PASSWORD, "")
    if not password:
        raise ValueError(f"{SQL_PASSWORD} is not set; give the password of the SQL role {arguments.sql_user}")
    server = SqlServer(arguments.sql, arguments.sql_user, password, tls=not arguments.no_sql_tls)
    n = 0
    for change in apply(
        GrafanaApi.from_url(arguments.url, credential=token),
        server,
        build.dashboards(),
        arguments.contact,
        dry_run=arguments.dry_run,
    ):
        n += 1
        print(f"{'would be ' if arguments.dry_run else ''}{change}", flush=True)
    print(f"{n} {'differences' if arguments.dry_run else 'changes'}")
    return 0
