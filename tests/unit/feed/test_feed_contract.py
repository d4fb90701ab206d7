"""The feed against its own OpenAPI document, by schemathesis: no 5xx, no answer that breaks the schema."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core import NotSet
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from dashboards.feed.access import Rate
from tests import feed_lake
from tests.feed_server import served

EXAMPLES = 6  # per operation, the same ones each time
NOBODY = "00000000-0000-0000-0000-000000000000"
CHECKS: Any = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    unsupported_method,
]


@pytest.fixture(scope="module")
def address(lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Base address and key of a running feed."""
    folder = tmp_path_factory.mktemp("contract")
    _, text = feed_lake.key_for(folder)
    with served(feed_lake.feed(lake, folder, rate=Rate(per_s=1e6, burst=1_000_000))) as url:
        yield url, text


def send(http: httpx.Client, case: Any, key: str) -> httpx.Response:
    """A made-up request as it stands, with a key."""
    body: dict[str, Any] = {}
    if not isinstance(case.body, NotSet):
        form = case.media_type == "application/x-www-form-urlencoded"
        body = {"data": case.body} if form and isinstance(case.body, dict) else {"content": json.dumps(case.body)}
    headers = {str(k): str(v) for k, v in (case.headers or {}).items()}
    request = http.build_request(
        case.method,
        case.formatted_path,
        params=case.query or None,
        headers={"Content-Type": case.media_type or "application/json", **headers, "X-API-Key": key},
        **body,
    )
    return http.send(request)


def test_answers_fit_the_document(address: tuple[str, str]) -> None:
    """Every operation with made-up parameters, right and wrong. Live streams never end, so they are tested elsewhere."""
    url, text = address
    document = schemathesis.openapi.from_url(f"{url}/openapi.json").exclude(path="/v1/live")
    asked: set[str] = set()
    http = httpx.Client(base_url=url, timeout=30.0)
    for found in document.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr]

        @given(case=operation.as_strategy())
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        def ask(case: Any) -> None:
            asked.add(case.operation.label)
            case.validate_response(send(http, case, text), checks=CHECKS)

        ask()
    http.close()
    assert len(asked) >= 17


def test_no_key_is_refused_everywhere(address: tuple[str, str]) -> None:
    document = httpx.get(f"{address[0]}/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    for path, operations in document["paths"].items():
        if path in ("/v1/health", "/auth/token"):
            continue
        for method in operations:
            known = path.replace("{order}", "o").replace("{table}", "rollups")
            known = known.replace("{figure_id}", NOBODY).replace("{footprint_id}", NOBODY)
            answer = httpx.request(method, f"{address[0]}{known}", params={"tenant": "acme", "against": "2026-10"})
            assert answer.status_code == 401, (method, path, answer.text)
