"""Stock and throughput: files that are dropped count once, answers over HTTP are not taken twice, and what is wrong is named."""

import asyncio
import shutil
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from devices.config import ConfigError
from devices.counters import Counters
from devices.source_mqtt import MqttDevices
from devices.source_wms import make
from devices.sources import Context
from devices.wire import Sample
from tests.pace import Pace, take

STOCK = {"signal": "pallets_stored", "key": "stock"}
OUT = {"signal": "pallets_out_total", "key": "out", "adds": True}
T0 = 1_795_334_400 * 10**9  # 2026-11-22T08:00:00Z


class Wms:
    """A source on a folder, in the test's own time."""

    def __init__(self, base: Path, *values: dict[str, Any], **options: Any) -> None:
        self.base = base
        self.drop = base / "drop"
        self.drop.mkdir(exist_ok=True)
        self.pace = Pace()
        self.counters = Counters()
        self.context = Context(
            name="wms",
            base=base,
            counters=self.counters,
            now_ns=self.pace.now_ns,
            monotonic=self.pace.monotonic,
            sleep=self.pace.sleep,
        )
        way = {} if "url" in options else {"folder": "drop"}
        self.source = make({**way, **options, "value": list(values)}, self.context)

    def put(self, name: str, *lines: str) -> None:
        (self.drop / name).write_text("\n".join(lines) + "\n")

    def names(self, folder: str = ".") -> list[str]:
        return sorted(p.name for p in (self.drop / folder).iterdir() if p.is_file())

    async def readings(self, looks: int = 3) -> list[Sample]:
        """What it gives until it has looked so many times and found nothing new."""
        found: list[Sample] = []
        enough = asyncio.Event()
        begun = len(self.pace.slept)
        self.pace.on_sleep = lambda: enough.set() if len(self.pace.slept) - begun >= looks else None

        async def read() -> None:
            async for sample in self.source.samples():
                found.append(sample)  # noqa: PERF401  kept if the rest is cut off

        reading = asyncio.ensure_future(read())
        stop = asyncio.ensure_future(enough.wait())
        async with asyncio.timeout(20):
            await asyncio.wait({reading, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if reading.done():
            await reading
        reading.cancel()
        await asyncio.wait({reading})
        return found


def test_rows_are_readings_of_their_own_time_and_the_file_is_put_aside(tmp_path: Path) -> None:
    wms = Wms(tmp_path, STOCK)
    wms.put("a.csv", "time,stock,note", "2026-11-22T08:00:00Z,1200,x", "2026-11-22T09:00:00Z,,", "1795341600,1210,")
    wms.put("readme.txt", "not for us")
    wms.put(".b.csv", "time,stock")
    got = asyncio.run(wms.readings())
    assert got == [Sample(T0, {"pallets_stored": 1200}), Sample(T0 + 7200 * 10**9, {"pallets_stored": 1210})]
    assert wms.names() == [".b.csv", "readme.txt"]
    assert wms.names("done") == ["a.csv"]


def test_a_file_is_left_alone_while_it_grows(tmp_path: Path) -> None:
    wms = Wms(tmp_path, STOCK)
    wms.put("a.csv", "time,stock", "2026-11-22T08:00:00Z,1")
    assert asyncio.run(wms.readings(looks=1)) == []
    wms.put("a.csv", "time,stock", "2026-11-22T08:00:00Z,1", "2026-11-22T08:01:00Z,2")
    assert asyncio.run(wms.readings(looks=1)) == []
    assert len(asyncio.run(wms.readings(looks=1))) == 2


def test_movements_are_added_up_to_a_total_that_outlives_the_gateway(tmp_path: Path) -> None:
    wms = Wms(tmp_path, {**OUT, "start": 100}, STOCK)
    wms.put("1.csv", "time,out,stock", "2026-11-22T08:00:00Z,5,90", "2026-11-22T08:10:00Z,3,87")
    assert [s.values for s in asyncio.run(wms.readings())] == [
        {"pallets_out_total": 105, "pallets_stored": 90},
        {"pallets_out_total": 108, "pallets_stored": 87},
    ]
    later = Wms(tmp_path, {**OUT, "start": 100}, STOCK)
    later.put("2.csv", "time,out,stock", "2026-11-22T09:00:00Z,2,85", "2026-11-22T09:00:00Z,2,83")
    assert [s.values["pallets_out_total"] for s in asyncio.run(later.readings())] == [110, 112]


def test_a_file_counts_once_whatever_happens(tmp_path: Path) -> None:
    rows = ("time,out", "2026-11-22T08:00:00Z,5", "2026-11-22T08:10:00Z,3")
    wms = Wms(tmp_path, OUT)
    wms.put("1.csv", *rows)

    async def cut_off() -> list[Sample]:
        samples = wms.source.samples()
        first = await take(samples, 1)
        await samples.aclose()  # type: ignore[attr-defined]
        return first

    (before,) = asyncio.run(cut_off())
    assert wms.names() == ["1.csv"]
    again = asyncio.run(Wms(tmp_path, OUT).readings())
    assert again[0] == before  # the same again, so the server books nothing for it
    assert [s.values["pallets_out_total"] for s in again] == [5, 8]
    wms.put("1.csv", *rows)  # delivered a second time
    wms.put("2.csv", *rows)
    twice = Wms(tmp_path, OUT)
    assert asyncio.run(twice.readings()) == []
    assert twice.counters.by_label("message_stale") == {"wms": 2}
    assert wms.names("done") == ["1.csv", "1.csv.2", "2.csv"]


def test_cells_and_rows_that_cannot_be_read_are_counted_never_guessed(tmp_path: Path) -> None:
    wms = Wms(tmp_path, STOCK, OUT, delimiter=";", decimal=",")
    wms.put(
        "a.csv",
        "time;stock;out",
        "2026-11-22T08:00:00Z;1,5;1",
        "2026-11-22T08:01:00Z;1.500;1",  # a thousand and a half, or one and a half?
        "2026-11-22T08:02:00Z;nan;-4",
        "2026-11-22T08:03:00;7;7",  # no zone
        "2026-11-22T08:04:00Z;7",
        "2026-11-22T08:05:00Z;inf;1e99",
        '"torn;7;7',
        "2026-11-22T08:06:00Z;7;1",
    )
    got = asyncio.run(wms.readings())
    assert [s.values for s in got] == [
        {"pallets_stored": 1.5, "pallets_out_total": 1},
        {"pallets_out_total": 2},
        {"pallets_stored": 7, "pallets_out_total": 3},
    ]
    assert wms.counters.by_label("csv_cell_unparsable") == {"stock": 3, "out": 1}
    assert wms.counters.by_label("csv_row_unparsable") == {"wms": 3}
    assert wms.counters.by_label("meter_value_refused") == {"pallets_out_total: below_zero": 1}


@pytest.mark.parametrize(
    "content", [b"", b"time;stock\n1;2\n", b"time,stok\n", b"time,stock,stock\n1,2,3\n", b"\xff\xfe\x00", b"time"]
)
def test_a_file_that_is_not_one_of_these_is_put_aside_and_blocks_nothing(tmp_path: Path, content: bytes) -> None:
    wms = Wms(tmp_path, STOCK)
    (wms.drop / "0.csv").write_bytes(content)
    wms.put("1.csv", "time,stock", "2026-11-22T08:00:00Z,3")
    assert [s.values for s in asyncio.run(wms.readings())] == [{"pallets_stored": 3}]
    assert wms.names("bad") == ["0.csv"]
    assert wms.counters.by_label("message_unreadable") == {"wms": 1}


def test_a_total_that_falls_is_refused(tmp_path: Path) -> None:
    total = {"signal": "goods_out_total_kg", "key": "tonnes", "factor": 1000, "max_per_h": 50_000}
    wms = Wms(tmp_path, total)
    times = [
        "2026-11-22T08:00:00Z,10",
        "2026-11-22T09:00:00Z,5",
        "2026-11-22T10:00:00Z,9000",
        "2026-11-22T11:00:00Z,20",
    ]
    wms.put("a.csv", "time,tonnes", *times)
    assert [s.values for s in asyncio.run(wms.readings())] == [
        {"goods_out_total_kg": 10_000},
        {"goods_out_total_kg": 20_000},
    ]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    wms = Wms(tmp_path, STOCK)
    wms.drop.rmdir()
    with pytest.raises(OSError, match="drop is no folder"):
        asyncio.run(wms.readings())


@dataclass
class Answers:
    """What a warehouse system answers, in order; the last one for ever. ``asked`` : headers of each request."""

    bodies: list[bytes]
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)
    hang: threading.Event | None = None

    @contextmanager
    def served(self, trust: ssl.SSLContext | None = None) -> Iterator[int]:
        answers = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answers.asked.append(dict(self.headers))
                if answers.hang is not None:
                    answers.hang.wait(20)
                body = answers.bodies.pop(0) if len(answers.bodies) > 1 else answers.bodies[0]
                self.send_response(answers.status)
                for name, value in answers.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if trust is not None:
            server.socket = trust.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            if self.hang is not None:
                self.hang.set()
            server.shutdown()
            server.server_close()
            thread.join()


def over_http(base: Path, answers: Answers, *values: dict[str, Any], n: int = 1, **options: Any) -> list[Sample]:
    with answers.served() as port:
        wms = Wms(base, *values, url=f"http://127.0.0.1:{port}/stock", **options)
        return asyncio.run(_take(wms.source.samples(), n))


async def _take(samples: AsyncIterator[Sample], n: int) -> list[Sample]:
    try:
        return await take(samples, n)
    finally:
        await samples.aclose()  # type: ignore[attr-defined]


def test_json_over_http_is_of_the_moment_it_was_asked(tmp_path: Path) -> None:
    answers = Answers([b'{"hall": [{"stock": 5}, {"stock": 1200.0}]}', b'{"hall": [{}, {"stock": 1201}]}'])
    got = over_http(tmp_path, answers, {**STOCK, "key": "hall.1.stock"}, n=2)
    assert [s.values for s in got] == [{"pallets_stored": 1200}, {"pallets_stored": 1201}]
    assert got[1].time_ns - got[0].time_ns == 60 * 10**9
    assert answers.asked[0]["Cache-Control"] == "no-cache"
    assert "Authorization" not in answers.asked[0]


def test_an_answer_that_was_seen_before_is_not_a_new_reading(tmp_path: Path) -> None:
    old, new = b'{"at": "2026-11-22T08:00:00Z", "stock": 1}', b'{"at": "2026-11-22T08:05:00Z", "stock": 1}'
    got = over_http(tmp_path, Answers([old, old, old, new]), STOCK, n=2, time="at")
    assert [s.time_ns for s in got] == [T0, T0 + 300 * 10**9]


def test_absent_numbers_are_absent(tmp_path: Path) -> None:
    kg = {"signal": "goods_out_total_kg", "key": "kg"}
    (sample,) = over_http(tmp_path, Answers([b'{"stock": 3, "kg": null}']), STOCK, kg)
    assert sample.values == {"pallets_stored": 3}


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (Answers([b"<html>log in</html>"]), "gives no JSON, but b'<html>log in"),
        (Answers([b"{}"], status=503), "answers 503"),
        (Answers([b"{}"], status=302, headers={"Location": "http://127.0.0.1:1/"}), "answers 302"),
        (Answers([b"[" + b"1," * (1 << 20) + b"1]"]), "ask it for less"),
    ],
)
def test_an_answer_that_cannot_be_used_is_said(tmp_path: Path, answers: Answers, said: str) -> None:
    with pytest.raises(OSError, match=r"http://127\.0\.0\.1:\d+/stock ") as caught:
        over_http(tmp_path, answers, STOCK)
    assert said in str(caught.value)


def test_a_time_without_a_zone_is_said(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no time with a zone at at"):
        over_http(tmp_path, Answers([b'{"at": "2026-11-22T08:00:00", "stock": 1}']), STOCK, time="at")


def test_a_system_that_does_not_answer_and_one_that_is_away_are_named(tmp_path: Path) -> None:
    hanging = Answers([b"{}"], hang=threading.Event())
    with pytest.raises(OSError, match=r"did not answer within|timed out"):
        over_http(tmp_path, hanging, STOCK, timeout_s=0.2)
    with pytest.raises(OSError, match=r"cannot be reached: .*refused"):
        asyncio.run(_take(Wms(tmp_path, STOCK, url="http://127.0.0.1:1/").source.samples(), 1))


def test_a_token_goes_over_tls_to_a_server_that_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed on this machine")
    new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ["-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=wms", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([openssl, *new, *names], cwd=tmp_path, check=True, capture_output=True)
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trust.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    monkeypatch.setenv("WMS_TOKEN", "secret")
    answers = Answers([b'{"stock": 9}'])
    with answers.served(trust) as port:
        options = {"url": f"https://127.0.0.1:{port}/", "token_env": "WMS_TOKEN"}
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            asyncio.run(_take(Wms(tmp_path, STOCK, **options).source.samples(), 1))
        assert answers.asked == []
        known = Wms(tmp_path, STOCK, **options, tls={"ca": "cert.pem"})
        (sample,) = asyncio.run(_take(known.source.samples(), 1))
    assert sample.values == {"pallets_stored": 9}
    assert answers.asked[0]["Authorization"] == "Bearer secret"


def test_over_mqtt_it_is_the_source_mqtt(tmp_path: Path) -> None:
    context = Context(name="wms", base=tmp_path)
    source = make({"broker": {"host": "a"}, "value": [{**STOCK, "topic": "wms/stock"}]}, context)
    assert isinstance(source, MqttDevices)


@pytest.mark.parametrize(
    ("options", "key", "mend"),
    [
        ({"value": [STOCK]}, "", "give one of folder, url, broker"),
        ({"value": [STOCK], "url": "http://a", "folder": "b"}, "", "give one of"),
        ({"value": [STOCK], "url": "file:///etc/passwd"}, "url", "http:// or https://"),
        ({"value": [STOCK], "url": "http://a", "token_env": "PATH"}, "url", "https:// only"),
        ({"value": [STOCK], "url": "https://a", "token_env": "NO_SUCH"}, "token_env", "the environment has no NO_SUCH"),
        ({"value": [{**STOCK, "signal": "pallets"}], "folder": "a"}, "value[0].signal", "is no signal"),
        ({"value": [{"signal": "pallets_stored"}], "folder": "a"}, "value[0].key", "name of the column"),
        ({"value": [{**OUT, "offset": 1}], "folder": "a"}, "value[0].adds", "no offset"),
        ({"value": [STOCK, STOCK], "folder": "a"}, "value[1].signal", "fed twice"),
    ],
)
def test_what_is_wrong_in_the_configuration_is_named(options: dict[str, Any], key: str, mend: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(options, Context(name="wms"))
    assert caught.value.key == ".".join(filter(None, ["source.wms", key]))
    assert mend in caught.value.mend
