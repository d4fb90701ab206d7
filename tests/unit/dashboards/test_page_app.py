"""The page's server without a browser: headers, files, an answer shared by all who ask, a lake that is not there yet."""

from pathlib import Path

import pytest
from litestar.testing import TestClient

from dashboards.page.app import Live, create_page
from storage.query import connect
from tests.lake_data import T0
from tests.real_lake import build, drive
from tests.sql_server import make_lake
from tests.support import T0_NS


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
        assert {r["route"] for r in first.json()["routes"]} == {"r-north", "r-south", None}
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


def test_vehicles_without_a_route_are_in_the_total(tmp_path: Path) -> None:
    """Three trucks, one of them on no route: the total is that of all, by an independent sum over the rollups."""
    lake = build(tmp_path / "lake", [drive(120)]).path
    with TestClient(create_page(Live(lake, now_ns=lambda: T0_NS + 125 * 10**9))) as client:
        told = client.get("/live.json").json()
    con = connect(lake)
    sql = f"SELECT sum(kg) FROM (SELECT sum(co2e_wtw_ug) * 3.6 / sum(observed_us) AS kg FROM rollups WHERE minute_ns >= {T0_NS + 60 * 10**9} GROUP BY asset)"  # noqa: E501
    kg = con.execute(sql).fetchall()[0][0]
    con.close()
    assert [(r["route"], r["vehicles"], r["registered"]) for r in told["routes"]] == [("north", 2, 2), (None, 1, 1)]
    assert told["totals"]["kg_per_h"] == pytest.approx(kg)
    assert (told["totals"]["vehicles"], told["totals"]["registered"]) == (3, 3)
