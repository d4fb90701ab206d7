"""One lake for all tests of the feed that only read; each has its own keys, log and archive."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from dashboards.feed.app import create_app
from dashboards.feed.keys import Detail
from tests import feed_lake

Client = TestClient[Litestar]


@pytest.fixture(scope="session")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """October and November 2026."""
    return feed_lake.build(tmp_path_factory.mktemp("feed") / "lake")


@pytest.fixture(scope="session")
def lake_with_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same after the base year 2025."""
    return feed_lake.build(tmp_path_factory.mktemp("base") / "lake", base=True)


@pytest.fixture
def client(lake: Path, tmp_path: Path) -> Iterator[Client]:
    """A client of the feed over ``lake``."""
    with TestClient(create_app(feed_lake.feed(lake, tmp_path))) as found:
        yield found


@pytest.fixture
def headers(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """Headers of a new key with these rights; ``vehicles`` sees everything."""

    def make(detail: Detail = "vehicles", **rights: Any) -> dict[str, str]:
        return {"X-API-Key": feed_lake.key_for(tmp_path, detail, **rights)[1]}

    return make
