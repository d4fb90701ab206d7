"""The provisioner against a fake of Grafana's HTTP API that keeps what it is given: first run creates, second changes nothing."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from grafana_client.api import GrafanaApi

from dashboards.grafana import build
from dashboards.grafana.alerts import CONTACT_UID, FOLDER_UID, GROUP
from dashboards.grafana.provision import SqlServer, apply, differing
from dashboards.grafana.sql import DATASOURCE_UID

SERVER = SqlServer("127.0.0.1:5433", "grafana", "not a real one")
BOARDS = dict(list(build.dashboards().items())[:2])


class Fake:
    """What a Grafana knows, and how often it was changed."""

    def __init__(self) -> None:
        self.things: dict[str, Any] = {}
        self.writes: list[str] = []
        self.seen: list[str] = []

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        path = path.removeprefix("/api").partition("?")[0]
        self.seen.append(f"{method} {path}")
        if method != "GET":
            self.writes.append(f"{method} {path}")
        match method, path.strip("/").split("/"):
            case "GET", ["datasources", "uid", uid]:
                return self._get(f"datasource {uid}")
            case ("POST", ["datasources"]) | ("PUT", ["datasources", "uid", _]):
                kept = {k: v for k, v in body.items() if k != "secureJsonData"}
                return self._keep(f"datasource {body['uid']}", kept | {"id": 7, "version": 3, "readOnly": False})
            case "GET", ["folders", uid]:
                return self._get(f"folder {uid}")
            case "POST", ["folders"]:
                return self._keep(f"folder {body['uid']}", body | {"id": 1})
            case "GET", ["dashboards", "uid", uid]:
                return self._get(f"dashboard {uid}")
            case "POST", ["dashboards", "db"]:
                model = body["dashboard"] | {"id": 12, "version": 1}
                return self._keep(
                    f"dashboard {model['uid']}", {"dashboard": model, "meta": {"folderUid": body["folderUid"]}}
                )
            case "GET", ["v1", "provisioning", "contact-points"]:
                return 200, [v for k, v in self.things.items() if k.startswith("contact ")]
            case "POST", ["v1", "provisioning", "contact-points"]:
                return self._keep(f"contact {body['uid']}", body | {"provenance": "api"})
            case "PUT", ["v1", "provisioning", "contact-points", uid]:
                return self._keep(f"contact {uid}", body)
            case "GET", ["v1", "provisioning", "folder", folder, "rule-groups", group]:
                return self._get(f"rules {folder} {group}")
            case "PUT", ["v1", "provisioning", "folder", folder, "rule-groups", group]:
                rules = [r | {"id": i, "updated": "now", "orgID": 1} for i, r in enumerate(body["rules"])]
                return self._keep(f"rules {folder} {group}", body | {"rules": rules[::-1]})
            case "GET", ["serviceaccounts", "search"]:
                found = [v for k, v in self.things.items() if k.startswith("account ")]
                return 200, {"serviceAccounts": found, "totalCount": len(found), "page": 1, "perPage": 1000}
            case "POST", ["serviceaccounts"]:
                return self._keep("account 4", body | {"id": 4})
        return 500, {"message": f"the fake knows no {method} {path}"}

    def _get(self, name: str) -> tuple[int, Any]:
        return (200, self.things[name]) if name in self.things else (404, {"message": "not found"})

    def _keep(self, name: str, what: Any) -> tuple[int, Any]:
        self.things[name] = what
        return 200, what


@contextmanager
def serving(fake: Fake) -> Iterator[GrafanaApi]:
    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            status, body = fake.answer(self.command, self.path, json.loads(self.rfile.read(size) or b"null"))
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = _reply  # noqa: N815  names that the base class asks for

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        api = GrafanaApi.from_url(f"http://127.0.0.1:{server.server_port}", credential="a token")
        try:
            yield api
        finally:
            api.client.s.close()
            server.shutdown()
            thread.join()


def run(fake: Fake, **options: Any) -> list[str]:
    with serving(fake) as api:
        return [str(c) for c in apply(api, SERVER, BOARDS, "dispatch@example.org", **options)]


def test_the_first_run_creates_and_the_second_changes_nothing() -> None:
    fake = Fake()
    first = run(fake)
    assert [c.split()[0] for c in first] == ["created"] * 7
    assert set(fake.things) == {
        f"datasource {DATASOURCE_UID}", f"folder {FOLDER_UID}", *(f"dashboard {uid}" for uid in BOARDS),
        f"contact {CONTACT_UID}", f"rules {FOLDER_UID} {GROUP}", "account 4",
    }  # fmt: skip
    fake.writes.clear()
    assert run(fake) == []
    assert fake.writes == []


def test_a_dry_run_says_the_same_and_writes_nothing() -> None:
    fake = Fake()
    assert len(run(fake, dry_run=True)) == 7
    assert fake.writes == []


def test_what_somebody_changed_is_named_and_put_back() -> None:
    fake = Fake()
    run(fake)
    uid = next(iter(BOARDS))
    fake.things[f"dashboard {uid}"]["dashboard"]["panels"][0]["title"] = "mine"
    fake.things[f"datasource {DATASOURCE_UID}"]["url"] = "elsewhere:1"
    changes = run(fake)
    assert [c.split(" (")[0] for c in changes] == ["updated data source fleetco2", f"updated dashboard {uid}"]
    assert "panels[0].title" in changes[1]
    assert run(fake) == []


def test_the_password_goes_to_the_secrets_only() -> None:
    fake = Fake()
    run(fake)
    assert SERVER.password not in json.dumps(fake.things)


@pytest.mark.parametrize(
    ("want", "have", "paths"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, []),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, ["a.b[1]"]),
        ({"a": [1]}, {"a": [1, 2]}, ["a"]),
        ({"a": ""}, {}, []),
        ({"a": 0}, {}, ["a"]),
    ],
)
def test_differences_are_named(want: Any, have: Any, paths: list[str]) -> None:
    assert list(differing(want, have)) == paths
