"""The feed against its own OpenAPI document, by schemathesis: no 5xx, no answer that breaks the schema."""

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from litestar.testing import TestClient
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from dashboards.feed.access import Rate
from dashboards.feed.app import create_app
from tests import feed_lake

CHECKS: Any = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    unsupported_method,
]


@pytest.fixture(scope="module")
def served(lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The application, its document and a key."""
    folder = tmp_path_factory.mktemp("contract")
    _, text = feed_lake.key_for(folder)
    feed = feed_lake.feed(lake, folder, rate=Rate(per_s=1e6, burst=1_000_000))
    with TestClient(create_app(feed), raise_server_exceptions=False) as client:
        client.headers["X-API-Key"] = text
        yield client


@pytest.fixture
def api(served: Any) -> Any:
    """The document as schemathesis reads it. Live streams never end, so they are tested elsewhere."""
    return schemathesis.openapi.from_asgi("/openapi.json", served.app).exclude(path="/v1/live")


schema = schemathesis.pytest.from_fixture("api")


@schema.parametrize()
@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_answers_fit_the_document(served: Any, case: Any) -> None:
    response = case.call(headers={"X-API-Key": served.headers["X-API-Key"]})
    case.validate_response(response, checks=CHECKS)
