"""The order of the write path: on disk first, then acknowledged; a disk that refuses loses nothing."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from devices.config import Broker
from devices.counters import Counters
from devices.wire import Sample, encode_batch, topic
from ingest.config import CommitConfig, FleetConfig
from ingest.core import ConsumerCore
from ingest.service import Service
from ingest.transport import Arrived
from storage.disk import Disk
from storage.lake import Lake
from storage.query import connect
from stream.pipeline import start
from tests.support import BOOT, T0_NS, fleet

TENANT = "acme"
NOW_NS = T0_NS + 3_600_000_000_000


class _Link:
    """The network, in memory: messages to take, what was acknowledged, what was published."""

    def __init__(self, *batches: list[Arrived]) -> None:
        self._batches = list(batches)
        self.acknowledged: list[int] = []
        self.published: list[tuple[str, bytes]] = []
        self.on_acknowledge: Callable[[], None] = lambda: None

    def take(self, at_most: int, wait_s: float) -> list[Arrived]:
        return self._batches.pop(0) if self._batches else []

    def acknowledge(self, messages: list[Arrived]) -> None:
        self.on_acknowledge()
        self.acknowledged += [m.message_id for m in messages]

    def publish(self, where: str, payload: bytes) -> None:
        self.published.append((where, payload))

    @property
    def empty(self) -> bool:
        return not self._batches


class _FullDisk(Disk):
    """A disk that has no room for its first ``refusals`` writes."""

    def __init__(self, refusals: int) -> None:
        super().__init__()
        self.refusals = refusals

    def sync(self, path: Path) -> None:
        if self.refusals > 0:
            self.refusals -= 1
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        super().sync(path)


def _message(number: int, seq0: int, n: int = 5) -> Arrived:
    samples = [Sample(T0_NS + (seq0 + i) * 10**9, {"fuel_total_hr_l": 10 + 0.01 * (seq0 + i)}) for i in range(n)]
    payload = encode_batch("d-t1", BOOT, seq0, samples)
    return Arrived(topic(TENANT, "d-t1", "up/readings"), payload, NOW_NS, number, 1)


def _config(folder: Path, **commit: int) -> FleetConfig:
    broker = Broker(host="none")
    return FleetConfig(tenants=(TENANT,), registry="r", lake=str(folder), broker=broker, commit=CommitConfig(**commit))


def _service(folder: Path, link: _Link, disk: Disk | None = None) -> tuple[Service, Lake, Counters]:
    lake = Lake.open(folder, create=True, disk=disk)
    lake.recover()
    counters = Counters()
    config = _config(folder)
    state = start(fleet())
    core = ConsumerCore(config, state.fleet, state, counters)
    return Service(config, core, lake, link, counters, lambda: NOW_NS), lake, counters  # type: ignore[arg-type]


def test_no_more_is_taken_than_the_rate_that_is_set(tmp_path: Path) -> None:
    """Ten commits of 5 readings at 10 a second: each waits for its half second, and none for longer."""
    now = 0.0
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        nonlocal now
        slept.append(seconds)
        now += seconds

    link = _Link(*[[_message(k + 1, 5 * k)] for k in range(10)])
    acknowledged: list[float] = []
    link.on_acknowledge = lambda: acknowledged.append(now)
    config = _config(tmp_path / "lake", max_messages=1, most_readings_per_s=10)
    with Lake.open(tmp_path / "lake", create=True) as lake:
        lake.recover()
        state, counters = start(fleet()), Counters()
        core = ConsumerCore(config, state.fleet, state, counters)
        service = Service(
            config,
            core,
            lake,
            link,  # type: ignore[arg-type]
            counters,
            lambda: NOW_NS,
            monotonic=lambda: now,
            sleep=sleep,
        )
        service.run(lambda: link.empty and len(link.acknowledged) == 10)
    assert acknowledged == [pytest.approx(0.5 * k) for k in range(10)]
    assert max(slept) <= 0.25
    assert _rows(tmp_path / "lake") == 50


def _rows(folder: Path) -> int:
    con = connect(folder)
    try:
        return int(con.execute("SELECT count(*) FROM readings").fetchall()[0][0])
    finally:
        con.close()


def test_acknowledged_after_it_is_on_disk(tmp_path: Path) -> None:
    link = _Link([_message(1, 0), _message(2, 5)])
    service, lake, _ = _service(tmp_path / "lake", link)
    seen: list[int] = []
    link.on_acknowledge = lambda: seen.append(_rows(tmp_path / "lake"))
    service.run(lambda: link.empty and bool(link.acknowledged))
    lake.close()
    assert seen == [10]
    assert link.acknowledged == [1, 2]
    where, payload = link.published[-1]
    assert where == topic(TENANT, "d-t1", "dn/ack")
    assert payload == b'{"boot_id":%d,"next":10}' % BOOT


def test_copies_are_acknowledged_and_stored_once(tmp_path: Path) -> None:
    link = _Link([_message(1, 0)], [_message(2, 0), _message(3, 0)])
    service, lake, counters = _service(tmp_path / "lake", link)
    service.run(lambda: link.empty and len(link.acknowledged) == 3)
    lake.close()
    assert _rows(tmp_path / "lake") == 5
    assert counters["readings_duplicate"] == 10


def test_full_disk_stops_acknowledgements_until_there_is_room(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    link = _Link([_message(1, 0)])
    disk = _FullDisk(0)
    service, lake, counters = _service(tmp_path / "lake", link, disk)
    disk.refusals = 3
    service.run(lambda: link.empty and bool(link.acknowledged))
    lake.close()
    assert counters["commit_failed"] >= 1
    assert "no space left on the disk; free some" in caplog.text
    assert _rows(tmp_path / "lake") == 5
    assert link.acknowledged == [1]


def test_messages_of_another_tenant_are_kept_and_acknowledged(tmp_path: Path) -> None:
    m = _message(1, 0)
    foreign = Arrived(topic("other", "d-t1", "up/readings"), m.payload, m.received_ns, 7, 1)
    link = _Link([foreign])
    service, lake, counters = _service(tmp_path / "lake", link)
    service.run(lambda: link.empty and bool(link.acknowledged))
    lake.close()
    assert _rows(tmp_path / "lake") == 0
    assert counters.by_label("rejected") == {"tenant_unknown": 1}
    assert link.acknowledged == [7]
