"""The generated files: dashboards as JSON, and what Grafana's own file provisioning reads.

The files are committed; a test builds them anew and compares.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dashboards.grafana.alerts import CONTACT, FOLDER, FOLDER_UID, contact_point, rule_group
from dashboards.grafana.boards import trees
from dashboards.grafana.provision import SqlServer, datasource

FILES: Final = Path(__file__).with_name("files")


def _text(tree: Any) -> str:
    return json.dumps(tree, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def dashboards() -> dict[str, str]:
    """JSON text of every dashboard by its uid."""
    return {uid: _text(tree) for uid, tree in trees().items()}


def provisioning() -> dict[str, str]:
    """Files by name, relative to Grafana's provisioning folder. JSON is YAML; secrets are environment variables of Grafana."""
    source = datasource(SqlServer("$FLEETCO2_SQL_ADDRESS", "$FLEETCO2_SQL_USER", ""))
    source["secureJsonData"] = {"password": "$FLEETCO2_SQL_PASSWORD"}
    source["jsonData"]["sslmode"] = "$FLEETCO2_SQL_SSLMODE"
    source["editable"] = False
    provider = {
        "name": "fleetco2",
        "folder": FOLDER,
        "folderUid": FOLDER_UID,
        "type": "file",
        "allowUiUpdates": False,
        "options": {"path": "/etc/grafana/provisioning/dashboards/fleetco2"},
    }
    group = rule_group()
    rules = {
        "orgId": 1,
        "name": group["title"],
        "folder": FOLDER,
        "interval": f"{group['interval']}s",
        "rules": group["rules"],
    }
    point = contact_point("$FLEETCO2_ALERT_EMAIL")
    receiver = {k: v for k, v in point.items() if k != "name"}
    return {
        "datasources/fleetco2.yaml": _text({"apiVersion": 1, "datasources": [source]}),
        "dashboards/fleetco2.yaml": _text({"apiVersion": 1, "providers": [provider]}),
        "alerting/fleetco2.yaml": _text(
            {
                "apiVersion": 1,
                "contactPoints": [{"orgId": 1, "name": CONTACT, "receivers": [receiver]}],
                "groups": [rules],
            }
        ),
    }


def files() -> Mapping[str, str]:
    """Every generated file by its path below ``FILES``."""
    boards = {f"dashboards/fleetco2/{uid}.json": text for uid, text in dashboards().items()}
    return boards | provisioning()


def write(folder: Path = FILES) -> list[Path]:
    """Write what differs, remove what is no longer made; the paths that changed."""
    want = {folder / name: text for name, text in files().items()}
    changed = []
    for path, text in want.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    for path in folder.rglob("*"):
        if path.is_file() and path not in want:
            path.unlink()
            changed.append(path)
    return changed
