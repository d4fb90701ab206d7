"""Frames for Grafana Live: line protocol as its specification writes it, the token's file, a Grafana that is not there."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from dashboards.grafana.push import STREAMS, LiveConfig, frames, lines, read_token, run

FIGURES: dict[str, Any] = {
    "totals": dict.fromkeys(("kg_per_h", "low", "high", "coverage", "measured", "today_kg", "age_s"), 1.5)
    | {"vehicles": 3, "registered": 4},
    "routes": [{"route": "a b", **dict.fromkeys(("kg_per_h", "low", "high", "g_per_km", "measured", "coverage", "age_s")), "vehicles": 0}],
    "warehouses": [{"warehouse": "w", **dict.fromkeys(("kg_per_h", "low", "high", "power_kw", "measured", "coverage", "age_s"), 2.0)}],
    "vehicles": [{"vehicle": "t,1", "lat": 50.0, "lon": 8.0, "speed_kmh": None, "g_per_km": None, "load_state": "empty", "age_s": 1.0}],
}  # fmt: skip


def test_lines() -> None:
    told = [
        ({"route": "a b"}, {"kg": 1.5, "n": 2, "ok": True, "text": 'say "x"', "unknown": None, "nan": float("nan")})
    ]
    assert lines("routes", told, 7) == b'routes,route=a\\ b kg=1.5,n=2.0,ok=true,text="say \\"x\\"" 7'
    assert lines("routes", [({}, {"kg": None})], 7) == b""


def test_frames_of_the_figures() -> None:
    told = frames(FIGURES)
    assert tuple(told) == STREAMS
    assert lines("routes", told["routes"], 1) == b"routes,route=a\\ b vehicles=0.0 1"
    assert lines("positions", told["positions"], 1) == (
        b'positions,vehicle=t\\,1 lat=50.0,lon=8.0,load_state="empty",age_s=1.0 1'
    )


def test_a_token_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("secret\n")
    path.chmod(0o640)
    with pytest.raises(ValueError, match="chmod 600"):
        read_token(path)
    path.chmod(0o600)
    assert read_token(path) == "secret"
    path.write_text("\n")
    with pytest.raises(ValueError, match="is empty"):
        read_token(path)


@contextmanager
def grafana(status: int) -> Iterator[tuple[str, list[tuple[str, str, bytes]]]]:
    got: list[tuple[str, str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, self.headers["Authorization"], body))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", got
        finally:
            server.shutdown()
            thread.join()


def _pushed(url: str, looks: int) -> int:
    """Run until ``read`` was asked ``looks`` times; how often it was."""
    asked = 0

    async def main() -> None:
        stop = asyncio.Event()

        async def read() -> Any:
            nonlocal asked
            asked += 1
            if asked == looks:
                stop.set()
            return frames(FIGURES)

        await run(LiveConfig(url=url, token_file="t", hz=2), "secret", read, lambda: 5, stop)

    asyncio.run(main())
    return asked


def test_each_stream_is_pushed_with_the_token() -> None:
    with grafana(200) as (url, got):
        assert _pushed(url, 1) == 1
    assert [path for path, _, _ in got] == [f"/api/live/push/fleetco2_{s}" for s in STREAMS]
    assert {token for _, token, _ in got} == {"Bearer secret"}
    assert got[0][2].startswith(b"fleet kg_per_h=1.5,")


def test_a_grafana_that_refuses_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    with grafana(401) as (url, got):
        assert _pushed(url, 2) == 2
    assert len(got) == 2
    assert "push_failed" in caplog.text
