"""Bring a running Grafana up to this code: data source, folder, dashboards, alert rules, contact point, service account.

Reads first, changes only what differs, in one place per kind; a second run changes nothing. ``dry_run`` reports the same
differences and changes nothing.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from grafana_client.api import GrafanaApi
from grafana_client.client import GrafanaClientError

from dashboards.grafana.alerts import CONTACT_UID, FOLDER, FOLDER_UID, GROUP, contact_point, rule_group
from dashboards.grafana.sql import DATASOURCE_TYPE, DATASOURCE_UID

SERVICE_ACCOUNT: Final = "fleetco2-live"  # may publish live frames, nothing else
_SERVERS_OWN: Final = frozenset(
    {"id", "version", "updated", "provenance", "orgID", "readOnly", "typeLogoUrl", "accessControl", "apiVersion"}
)


@dataclass(frozen=True)
class SqlServer:
    """Where Grafana finds the SQL server, and as whom it signs in."""

    address: str  # host:port as Grafana sees it
    user: str
    password: str
    tls: bool = True


@dataclass(frozen=True)
class Change:
    """One difference. ``fields`` names what differs."""

    kind: str
    name: str
    action: str  # created, updated
    fields: tuple[str, ...] = ()

    def __str__(self) -> str:
        what = f" ({', '.join(self.fields)})" if self.fields else ""
        return f"{self.action} {self.kind} {self.name}{what}"


def datasource(server: SqlServer) -> dict[str, Any]:
    """The data source: Grafana's core PostgreSQL one, no plugin."""
    return {
        "uid": DATASOURCE_UID,
        "name": "fleetco2",
        "type": DATASOURCE_TYPE,
        "access": "proxy",
        "url": server.address,
        "user": server.user,
        "isDefault": False,
        "jsonData": {
            "database": "fleetco2",
            "sslmode": "require" if server.tls else "disable",
            "postgresVersion": 1500,
            "timescaledb": False,
            "maxOpenConns": 10,
            "maxIdleConns": 4,
            "connMaxLifetime": 3600,
        },
    }


def _found(call: Callable[[], Any]) -> Any | None:
    try:
        return call()
    except GrafanaClientError as e:
        if e.status_code == 404:
            return None
        raise


def differing(want: Any, have: Any, path: str = "") -> Iterator[str]:
    """Paths at which ``have`` lacks or contradicts ``want``; what the server adds by itself does not count."""
    if isinstance(want, Mapping) and isinstance(have, Mapping):
        for key, value in want.items():
            if key not in _SERVERS_OWN:
                yield from differing(value, have.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(want, list) and isinstance(have, list):
        if len(want) != len(have):
            yield path
        else:
            for i, (a, b) in enumerate(zip(want, have, strict=True)):
                yield from differing(a, b, f"{path}[{i}]")
    elif want != have and not (want in (None, "", []) and have in (None, "", [])):
        yield path


def apply(
    grafana: GrafanaApi, server: SqlServer, boards: Mapping[str, str], contact: str | None, *, dry_run: bool = False
) -> Iterator[Change]:
    """Yield each change when it is made (or would be). Raises grafana_client's GrafanaException and connection errors."""
    yield from _datasource(grafana, server, dry_run)
    yield from _folder(grafana, dry_run)
    for uid, text in boards.items():
        yield from _dashboard(grafana, uid, json.loads(text), dry_run)
    if contact is not None:
        yield from _contact(grafana, contact, dry_run)
    yield from _rules(grafana, contact is not None, dry_run)
    yield from _service_account(grafana, dry_run)


def _step(
    kind: str,
    name: str,
    want: Any,
    have: Any | None,
    create: Callable[[], Any],
    update: Callable[[], Any],
    dry_run: bool,
) -> Iterator[Change]:
    if have is None:
        if not dry_run:
            create()
        yield Change(kind, name, "created")
        return
    fields = tuple(differing(want, have))
    if fields:
        if not dry_run:
            update()
        yield Change(kind, name, "updated", fields)


def _datasource(grafana: GrafanaApi, server: SqlServer, dry_run: bool) -> Iterator[Change]:
    want = datasource(server)
    with_secret = want | {"secureJsonData": {"password": server.password}}
    have = _found(lambda: grafana.datasource.get_datasource_by_uid(DATASOURCE_UID))
    yield from _step(
        "data source",
        "fleetco2",
        want,
        have,
        lambda: grafana.datasource.create_datasource(with_secret),
        lambda: grafana.datasource.update_datasource_by_uid(DATASOURCE_UID, with_secret),
        dry_run,
    )


def _folder(grafana: GrafanaApi, dry_run: bool) -> Iterator[Change]:
    have = _found(lambda: grafana.folder.get_folder(FOLDER_UID))
    yield from _step(
        "folder",
        FOLDER,
        {"title": FOLDER},
        have,
        lambda: grafana.folder.create_folder(FOLDER, uid=FOLDER_UID),
        lambda: grafana.folder.update_folder(FOLDER_UID, title=FOLDER, overwrite=True),
        dry_run,
    )


def _dashboard(grafana: GrafanaApi, uid: str, model: dict[str, Any], dry_run: bool) -> Iterator[Change]:
    have = _found(lambda: grafana.dashboard.get_dashboard(uid))

    def save() -> Any:
        return grafana.dashboard.update_dashboard(
            {
                "dashboard": model,
                "folderUid": FOLDER_UID,
                "overwrite": True,
                "message": "python -m dashboards grafana apply",
            }
        )

    yield from _step("dashboard", uid, model, None if have is None else have["dashboard"], save, save, dry_run)


def _contact(grafana: GrafanaApi, address: str, dry_run: bool) -> Iterator[Change]:
    want = contact_point(address)
    points = grafana.alertingprovisioning.get_contactpoints()
    have = next((p for p in points if p.get("uid") == CONTACT_UID), None)
    yield from _step(
        "contact point",
        want["name"],
        want,
        have,
        lambda: grafana.alertingprovisioning.create_contactpoint(want),
        lambda: grafana.alertingprovisioning.update_contactpoint(CONTACT_UID, want),
        dry_run,
    )


def _rules(grafana: GrafanaApi, has_contact: bool, dry_run: bool) -> Iterator[Change]:
    """The group as a whole: Grafana replaces all rules of a group at once."""
    want = rule_group()
    if not has_contact:
        for rule in want["rules"]:
            del rule["notification_settings"]
    have = _found(lambda: grafana.alertingprovisioning.get_rule_group(FOLDER_UID, GROUP))
    if have is not None:
        order = {r["uid"]: i for i, r in enumerate(want["rules"])}
        have = have | {"rules": sorted(have.get("rules", []), key=lambda r: order.get(r.get("uid"), len(order)))}

    def save() -> Any:
        return grafana.alertingprovisioning.update_rule_group(FOLDER_UID, GROUP, want, disable_provenance=True)

    yield from _step("alert rules", GROUP, want, have, save, save, dry_run)


def _service_account(grafana: GrafanaApi, dry_run: bool) -> Iterator[Change]:
    pages = grafana.serviceaccount.search(SERVICE_ACCOUNT, page=1, perpage=100)
    accounts = [account for page in pages for account in page["serviceAccounts"]]
    have = next((a for a in accounts if a["name"] == SERVICE_ACCOUNT), None)
    want = {"name": SERVICE_ACCOUNT, "role": "Editor"}  # the least role that may push live frames
    yield from _step(
        "service account",
        SERVICE_ACCOUNT,
        want,
        have,
        lambda: grafana.serviceaccount.create(want),
        lambda: grafana.serviceaccount.update(have["id"] if have else 0, want),
        dry_run,
    )
