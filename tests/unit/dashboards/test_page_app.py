"""The page's server without a browser: headers, files, an answer shared by all who ask, a lake that is not there yet."""

from pathlib import Path

import pytest
from litestar.testing import TestClient

from dashboards.page.app import Live, create_page
from tests.lake_data import T0
from tests.sql_server import make_lake


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_lake(tmp_path_factory.mktemp("page") / "lake", commits=1, rows=200)


def test_the_page_asks_nobody_outside(lake: Path) -> None:
    with TestClient(create_page(Live(lake))) as client:
        page = client.get("/")
        assert page.status_code == 200
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        for name in ("page.js", "page.css", "uPlot.iife.min.js", "uPlot.min.css"):
            assert f"static/{name}" in page.text
            found = client.get(f"/static/{name}")
            assert found.status_code == 200
            assert "http://" not in found.text.replace("http://www.w3.org", "") or name.startswith("uPlot")


@pytest.mark.parametrize("path", ["/static/nothing.js", "/static/..%2fapp.py", "/static/app.py", "/etc/passwd"])
def test_no_other_file_is_given(lake: Path, path: str) -> None:
    with TestClient(create_page(Live(lake))) as client:
        assert client.get(path).status_code == 404


def test_one_answer_for_all_within_a_second(lake: Path) -> None:
    now = [T0 + 3_600_000_000_000]
    with TestClient(create_page(Live(lake, now_ns=lambda: now[0]))) as client:
        first = client.get("/live.json")
        assert first.status_code == 200
        assert {r["route"] for r in first.json()["routes"]} == {"r-north", "r-south"}
        now[0] += 900_000_000
        assert client.get("/live.json").content == first.content
        now[0] += 200_000_000
        assert client.get("/live.json").json()["now_ns"] == now[0]


def test_without_a_lake_it_says_so(tmp_path: Path) -> None:
    with TestClient(create_page(Live(tmp_path))) as client:
        answer = client.get("/live.json")
        assert (answer.status_code, answer.json()["title"]) == (503, "the lake cannot be read yet")
        make_lake(tmp_path, commits=1, rows=10)
        assert client.get("/live.json").status_code == 200
