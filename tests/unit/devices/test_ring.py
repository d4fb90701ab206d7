"""The outbox on a disk that is cut off at every call, torn, flipped and full: what was durable arrives, once and unaltered."""

import errno
import random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from devices.actions import Publish
from devices.disk import JOURNAL
from devices.envelope import batch_hash, envelope, signed_message
from devices.records import HEAD_BYTES
from devices.unbatch import head
from tests.disk_world import Bench, FaultDisk, KilledError, Server, opened, value_of

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def check(server: Server, boots: dict[int, int]) -> None:
    """``boots``: readings of each boot that must have arrived. All that arrived is what was measured."""
    for (boot, seq), (value, _) in server.rows.items():
        assert value == value_of(boot, seq), "altered or invented"
    for boot, durable in boots.items():
        assert server.next.get(boot, 0) >= durable, "lost"
        stood_for = sum(m for (b, _), (_, m) in server.rows.items() if b == boot)
        told = sum(h.end - h.begin for h in server.gone if h.boot_id == boot)
        assert stood_for + told == server.next.get(boot, 0), "counted twice or not at all"
        assert not told


def test_what_was_not_confirmed_is_sent_after_a_restart_as_it_was_sealed() -> None:
    disk, server = FaultDisk(), Server()
    first = Bench(disk, 1, batch_s=2)
    first.connect(server)
    first.give(25)
    confirmed = dict(server.next)
    first.disconnect()
    first.give(100)
    first.run_until(first.now + 10)
    on_disk = [first.ring.read(e) for e in first.ring.entries]
    second = Bench(disk, 2)
    assert second.recovered.readings == 125 - confirmed[1]
    assert second.recovered.damaged == second.recovered.torn == 0
    assert second.core.figures().earlier == 125 - confirmed[1]
    second.give(5)
    second.drain(server)
    assert server.next == {1: 125, 2: 5}
    check(server, {1: 125, 2: 5})
    sent = [p.payload for p in second.published if p.topic.endswith("up/readings")]
    assert [batch_hash(f) for f in sent[: len(on_disk)]] == [batch_hash(f) for f in on_disk]
    assert all(f[3] & 1 for f in sent[: len(on_disk)])  # late data says so
    assert second.core.figures().earlier == 0


def test_what_is_confirmed_is_not_sent_again_by_a_later_start() -> None:
    disk, server = FaultDisk(), Server()
    first = Bench(disk, 1, batch_s=1)
    first.connect(server)
    first.give(200)
    first.run_until(first.now + 20)
    second = Bench(disk, 2)
    assert second.recovered.readings <= 20  # what was confirmed since the last commit
    third = Bench(disk, 3)
    third.give(1)
    third.drain(server)
    fourth = Bench(disk, 4)
    assert fourth.recovered.readings <= 1


def test_a_reading_is_on_the_disk_within_commit_s_and_never_sent_before() -> None:
    disk, server = FaultDisk(), Server()
    bench = Bench(disk, 1, batch_s=60, batch_max=1000)
    bench.give(35)
    assert bench.core.durable_seq >= 25
    after = disk.cut(random.Random(1))
    late = Bench(after, 2)
    late.drain(server)
    assert server.next[1] >= 25
    bench.disk.broken = errno.EIO
    bench.connect(Server())
    bench.give(30)
    assert [p for p in bench.published if p.topic.endswith("up/readings")] == []
    assert bench.counters["outbox_refused"] >= 2
    bench.disk.broken = None
    server = Server()
    bench.server = server
    bench.give(70)
    bench.drain(server)
    check(server, {1: 135})


def _story(disk: FaultDisk, log: list[int], server: Server) -> None:
    """Offline, online, offline: ``log`` gets what is durable after each second."""
    bench = Bench(disk, 1, batch_s=3, sign=KEY.sign)
    for part in range(3):
        if part == 1:
            bench.connect(server)
        for _ in range(20):
            bench.give(1)
            log.append(bench.core.durable_seq)
        if part == 1:
            bench.disconnect()


def test_power_cut_at_every_call_of_the_disk_loses_nothing_that_was_durable() -> None:
    whole = FaultDisk(segments=5, segment_bytes=1024)
    _story(whole, [], Server())
    rng = random.Random(7)
    for call in range(whole.calls):
        disk = FaultDisk(segments=5, segment_bytes=1024)
        disk.fail[call] = "kill"
        log, server = [0], Server()
        with pytest.raises(KilledError):
            _story(disk, log, server)
        second = Bench(disk.cut(rng), 2, sign=KEY.sign)
        second.give(3)
        second.drain(server)
        check(server, {1: log[-1], 2: 3})


def test_a_cut_during_recovery_costs_nothing() -> None:
    rng = random.Random(3)
    for call in range(12):
        disk = FaultDisk(segments=5, segment_bytes=1024)
        first = Bench(disk, 1)
        first.give(57)
        durable = first.core.durable_seq
        disk = disk.cut(rng)
        disk.fail[call] = "kill"
        try:
            Bench(disk, 2)
        except KilledError:
            disk = disk.cut(rng)
        disk.fail.clear()
        server = Server()
        third = Bench(disk, 3)
        third.drain(server)
        assert server.next[1] >= durable
        check(server, {1: durable})


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_an_error_at_every_call_loses_nothing_at_all(error: int) -> None:
    whole = FaultDisk(segments=5, segment_bytes=1024)
    _story(whole, [], Server())
    for call in range(whole.calls):
        disk = FaultDisk(segments=5, segment_bytes=1024)
        try:
            bench = Bench(disk, 1, batch_s=3)
            disk.fail[disk.calls + call] = error
            bench.give(60)
            server = Server()
            bench.drain(server)
        except OSError:  # the start itself
            continue
        check(server, {1: 60})


def test_every_flipped_bit_costs_one_batch_at_most_and_is_told() -> None:
    disk = FaultDisk(segments=5, segment_bytes=2048)
    first = Bench(disk, 1)
    first.give(100)
    rng = random.Random(5)
    places = [(f, o) for f in range(disk.segments + 1) for o in range(len(disk.platter[f])) if disk.platter[f][o]]
    for file, offset in rng.sample(places, 250):
        damaged = disk.cut(rng)
        damaged.cache.clear()
        damaged.platter = [bytearray(p) for p in disk.platter]
        damaged.platter[file][offset] ^= 1 << rng.randrange(8)
        server = Server()
        second = Bench(damaged, 2)
        second.drain(server)
        for (boot, seq), (value, _) in server.rows.items():
            assert value == value_of(boot, seq), "altered"
        told = sum(h.end - h.begin for h in server.gone)
        stood_for = sum(m for _, m in server.rows.values())
        if offset >= HEAD_BYTES and file != JOURNAL:
            assert server.next.get(1, 0) >= 80  # the journal holds the rest
            assert told <= 40
        assert stood_for + told == sum(server.next.values())
        if told:
            assert second.recovered.damaged or second.recovered.torn


def test_every_flipped_bit_of_the_journal_costs_its_own_readings_only() -> None:
    rng = random.Random(6)
    whole = FaultDisk()
    Bench(whole, 1, batch_max=1000).give(95)
    used = max(i for i, byte in enumerate(whole.platter[JOURNAL]) if byte)
    for offset in range(0, used, 3):
        disk, server = FaultDisk(), Server()
        disk.platter = [bytearray(p) for p in whole.platter]
        disk.platter[JOURNAL][offset] ^= 1 << rng.randrange(8)
        second = Bench(disk, 2)
        second.drain(server)
        assert all(value == value_of(boot, seq) for (boot, seq), (value, _) in server.rows.items())
        if offset >= HEAD_BYTES:
            assert len(server.rows) >= 80  # nine notes of ten
        told = sum(h.end - h.begin for h in server.gone)
        assert len(server.rows) + told == server.next.get(1, 0)


def test_readings_of_a_journal_are_taken_over_once() -> None:
    disk, server = FaultDisk(), Server()
    Bench(disk, 1, batch_max=1000).give(25)
    second = Bench(disk, 2)
    assert second.recovered.journal >= 20
    second.drain(server)
    for boot in range(3, 12):  # each is heard at once, so none writes to the journal
        later = Bench(disk, boot, batch_s=1)
        assert later.recovered.journal == 0
        later.connect(server)
        later.give(9)
        later.drain(server)
        sent = {head(p.payload).boot_id for p in later.published if p.topic.endswith("up/readings")}
        assert sent <= {boot - 1, boot} or (boot, sent) == (3, {1, 3})  # start 2 wrote nothing after its confirmation


def test_a_flip_that_is_found_when_it_is_sent_blocks_nobody() -> None:
    disk, server = FaultDisk(), Server()
    bench = Bench(disk, 1)
    bench.give(100)
    entry = bench.ring.entries[2]
    disk.platter[entry.file][entry.offset + 40] ^= 4
    bench.drain(server)
    assert [(h.begin, h.end) for h in server.gone] == [(entry.first, entry.end)]
    assert server.next[1] == 100
    assert bench.counters["outbox_damaged"] == 1
    assert bench.counters["readings_gone"] == entry.end - entry.first


@pytest.mark.parametrize("cuts", [0, 6])
def test_a_full_ring_thins_the_oldest_and_every_counter_stays_exact(cuts: int) -> None:
    disk, rng = FaultDisk(segments=8, segment_bytes=4096), random.Random(11)
    total: dict[int, int] = {}
    for boot in range(1, cuts + 2):
        bench = Bench(disk, boot, sign=KEY.sign)
        bench.give(20_000 // (cuts + 1))
        total[boot] = bench.core.durable_seq if cuts else 20_000
        if cuts:
            disk = disk.cut(rng)
    server = Server()
    last = bench if not cuts else Bench(disk, 99, sign=KEY.sign)
    assert len(last.core) < 3000
    last.drain(server)
    check(server, total)
    assert max(m for _, m in server.rows.values()) >= 60
    newest = max(total)
    assert server.rows[newest, server.next[newest] - 1][1] == 1  # the newest are whole
    if not cuts:
        assert last.core.figures().thinned == 20_000 - len(server.rows)


def test_the_chain_of_hashes_holds_through_restarts_and_thinning() -> None:
    disk = FaultDisk(segments=6, segment_bytes=4096)
    for boot in (1, 2, 3):
        Bench(disk, boot, sign=KEY.sign).give(3000)
    server = Server()
    last = Bench(disk, 4, sign=KEY.sign)
    last.give(10)
    last.drain(server)
    assert server.boots == [1, 2, 3, 4]
    before: bytes | None = None
    replaced = 0
    for frame in server.frames:
        sealed = envelope(frame)
        assert sealed.previous == before, (
            f"the chain is broken before reading {head(frame).seq0} of {head(frame).boot_id}"
        )
        assert sealed.signature is not None
        KEY.public_key().verify(sealed.signature, signed_message(frame, "acme", sealed.signature_at))
        before = sealed.replaces or batch_hash(frame)
        replaced += sealed.replaces is not None
    assert replaced > 0


def test_a_gateway_that_never_reaches_its_server_still_starts() -> None:
    disk, rng = FaultDisk(segments=6, segment_bytes=4096), random.Random(2)
    for boot in range(1, 300):
        bench = Bench(disk, boot)
        bench.give(11)  # one commit
        disk = disk.cut(rng)
    ring, recovered = opened(disk)
    assert recovered.damaged == 0
    assert ring.entries


def test_boots_are_sent_in_order_and_only_so_many_at_once() -> None:
    disk = FaultDisk(segments=6, segment_bytes=4096)
    for boot in range(1, 11):
        Bench(disk, boot).give(12)
    server = Server()
    last = Bench(disk, 50)
    deaf = Server()
    last.server = deaf
    sent = last.core.on_connected(0.0)
    boots = [head(p.payload).boot_id for p in sent if isinstance(p, Publish) and p.topic.endswith("up/readings")]
    assert boots == sorted(boots)
    assert len(set(boots)) <= 4
    last.core.on_disconnected("gone", 0.0)
    last.drain(server)
    assert server.boots == list(range(1, 11))


def test_hours_offline_are_kept_in_large_batches_and_drained_in_seconds() -> None:
    disk, server = FaultDisk(segments=8, segment_bytes=1 << 17), Server()
    bench = Bench(disk, 1, batch_max=600)
    bench.give(6 * 3600)
    assert [e.rows for e in bench.ring.entries] == [600] * 36
    assert bench.core.figures().thinned == 0
    begun = bench.now
    bench.connect(server)
    while server.next.get(1, 0) < 6 * 3600:
        bench.run_until(bench.core.wake_at())
    assert bench.now - begun <= 36 / 4 + 1  # four batches a second: 72 h take 108 s
    assert len(server.rows) == 6 * 3600
    assert all(p.payload[3] & 1 for p in bench.published[1:-1])  # marked as late data


def test_a_power_cut_that_keeps_a_later_batch_only_takes_the_others_from_the_journal() -> None:
    disk, server = FaultDisk(), Server()
    first = Bench(disk, 1, batch_max=5)
    first.give(4)
    first.run_until(first.now + 20)
    assert first.core.durable_seq == 4  # in the journal
    synced = [bytes(file) for file in disk.platter]
    disk.sync = lambda files: None  # type: ignore[method-assign]
    first.give(6)
    *_, last = [w for w in disk.cache if w[2][:3] == b"FR\x01"]
    assert [(e.first, e.end) for e in first.ring.entries] == [(0, 5), (5, 10)]
    after = FaultDisk()
    after.platter = [bytearray(file) for file in synced]
    heads = [w for w in disk.cache if w[0] == last[0] and w[1] == 0]
    for file, offset, data in [*heads, last]:
        after.platter[file][offset : offset + len(data)] = data
    second = Bench(after, 2)
    assert second.recovered.journal == 4
    assert [(e.first, e.end) for e in second.ring.entries] == [(0, 4), (5, 10)]
    second.drain(server)
    assert server.next[1] == 10
    assert [(h.begin, h.end) for h in server.gone] == [(4, 5)]
    assert all(value == value_of(boot, seq) for (boot, seq), (value, _) in server.rows.items())


def test_a_journal_whose_head_is_spoilt_is_told() -> None:
    disk = FaultDisk()
    first = Bench(disk, 1)
    first.give(4)
    first.run_until(first.now + 20)
    disk.platter[JOURNAL][9] ^= 1
    assert Bench(disk, 2).recovered.damaged == 1
