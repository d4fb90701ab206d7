"""All dashboards, and where a panel stands among them."""

from collections.abc import Callable
from functools import cache
from typing import Any, Final

from grafana_foundation_sdk.builders import dashboard

from dashboards.grafana import boards_detail, boards_fleet, boards_manage, boards_operations
from dashboards.grafana.sql import as_json

BUILDERS: Final[tuple[Callable[[], dashboard.Dashboard], ...]] = (
    boards_fleet.fleet,
    boards_fleet.route,
    boards_detail.vehicle,
    boards_detail.warehouse,
    boards_manage.empty,
    boards_manage.progress,
    boards_operations.operations,
)


@cache
def trees() -> dict[str, Any]:
    """Every dashboard as plain JSON values, by its uid."""
    made = [as_json(build().build()) for build in BUILDERS]
    return {tree["uid"]: tree for tree in made}


def panel_id(uid: str, title: str) -> int:
    """The id of a panel. KeyError where there is none or more than one of that title."""
    found = [panel["id"] for panel in trees()[uid]["panels"] if panel["title"] == title]
    if len(found) != 1:
        raise KeyError(f"{len(found)} panels of {uid} are called {title!r}")
    return int(found[0])
