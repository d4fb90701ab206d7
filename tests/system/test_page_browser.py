"""The live page in a real browser, over a lake that the kernels made: what a person reads is what SQL says."""

import asyncio
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboards.feed import server
from dashboards.page.app import Live, create_page
from storage.query import connect
from tests.real_lake import build, drive
from tests.support import T0_NS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
NOW_NS = T0_NS + 125 * 1_000_000_000


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("page") / "lake", [drive(120)]).path


@pytest.fixture(scope="module")
def address(lake: Path) -> Iterator[str]:
    """The page, served from a thread with an event loop of its own, its clock standing just after the last reading."""
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    ready = threading.Event()
    ports: list[int] = []

    async def main() -> None:
        shown = Live(lake, now_ns=lambda: NOW_NS)
        running = await server.start(create_page(shown), "127.0.0.1", 0, connections=20, header_s=15.0)
        ports.append(running.port)
        ready.set()
        await stop.wait()
        await running.close()

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()))
    thread.start()
    assert ready.wait(20)
    yield f"http://127.0.0.1:{ports[0]}/"
    loop.call_soon_threadsafe(stop.set)
    thread.join(20)
    loop.close()


def text_of(address: str, tmp_path: Path, size: str) -> tuple[str, Path]:
    """What the page's body holds after its first answer, and a picture of it."""
    assert CHROMIUM
    picture = tmp_path / f"{size}.png"
    base = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    wait = ["--virtual-time-budget=6000", f"--window-size={size}"]
    dom = subprocess.run([*base, *wait, "--dump-dom", address], capture_output=True, text=True, timeout=90, check=True)
    subprocess.run([*base, *wait, f"--screenshot={picture}", address], capture_output=True, timeout=90, check=True)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", dom.stdout.partition("<body>")[2])), picture


@pytest.mark.timeout(240)
def test_a_person_reads_what_sql_says(address: str, lake: Path, tmp_path: Path) -> None:
    text, picture = text_of(address, tmp_path, "1280,900")
    assert re.search(r"updated \d\d:\d\d:\d\d UTC", text)
    con = connect(lake)
    con.execute(f"SET VARIABLE now_ns = {NOW_NS}")
    kg = con.execute("SELECT co2e_wtw_kg_per_h FROM route_now WHERE route = 'north'").fetchall()[0][0]
    con.close()
    assert f"north {kg:,.1f}" in text
    assert picture.stat().st_size > 20_000


@pytest.mark.timeout(240)
def test_it_fits_a_phone(address: str, tmp_path: Path) -> None:
    text, picture = text_of(address, tmp_path, "390,844")
    assert "Vehicles reporting" in text
    assert picture.stat().st_size > 10_000
