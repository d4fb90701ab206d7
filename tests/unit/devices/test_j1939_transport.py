"""Multi-packet messages: whole or not at all."""

from devices.counters import Counters
from devices.j1939_transport import MAX_SESSIONS, TIMEOUT_S, Reassembler

PGN = 0xFEEC
PAYLOAD = bytes(range(1, 18))


class Bus:
    """One reassembler and the time."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.it = Reassembler({PGN}, self.counters)
        self.now_s = 100.0

    def open(
        self, kind: int = 32, size: int = 17, packets: int = 3, pgn: int = PGN, sender: int = 0, to: int = 255
    ) -> None:
        data = bytes([kind, size & 255, size >> 8, packets, 255]) + pgn.to_bytes(3, "little")
        self.it.on_control(sender, to, data, self.now_s)

    def send(self, number: int, sender: int = 0, to: int = 255, wait_s: float = 0.05) -> tuple[int, bytes] | None:
        self.now_s += wait_s
        part = PAYLOAD[7 * (number - 1) : 7 * number].ljust(7, b"\xff")
        return self.it.on_packet(sender, to, bytes([number]) + part, self.now_s)

    def broken(self) -> dict[str, int]:
        return dict(self.counters.by_label("can_transfer_broken"))


def test_a_broadcast() -> None:
    bus = Bus()
    bus.open()
    assert [bus.send(n) for n in (1, 2, 3)] == [None, None, (PGN, PAYLOAD)]
    assert bus.send(3) is None
    assert bus.broken() == {}


def test_broadcasts_of_two_senders_do_not_mix() -> None:
    bus = Bus()
    bus.open(sender=1)
    bus.open(sender=2)
    got = [bus.send(n, sender=s) for n in (1, 2, 3) for s in (1, 2)]
    assert got == [None] * 4 + [(PGN, PAYLOAD)] * 2


def test_a_session_between_two_others_with_a_packet_said_again() -> None:
    bus = Bus()
    bus.open(kind=16, to=0xF9)
    assert [bus.send(n, to=0xF9) for n in (1, 2, 2, 1, 3)] == [None] * 4 + [(PGN, PAYLOAD)]


def test_a_lost_or_doubled_packet_ends_a_broadcast() -> None:
    for numbers in ((1, 3), (1, 1), (2,), (0,)):
        bus = Bus()
        bus.open()
        assert [bus.send(n) for n in (*numbers, 2, 3)] == [None] * (len(numbers) + 2)
        assert bus.broken() == {"gap": 1}


def test_packets_of_the_next_message_never_fill_the_gaps_of_the_last() -> None:
    bus = Bus()
    bus.open()
    bus.send(1)  # then packets 2 and 3 and the next announcement are lost
    assert [bus.send(n) for n in (1, 2, 3)] == [None] * 3


def test_a_late_packet_ends_it() -> None:
    bus = Bus()
    bus.open()
    bus.send(1)
    assert bus.send(2, wait_s=TIMEOUT_S + 0.01) is None
    assert bus.send(3) is None
    assert bus.broken() == {"timeout": 1}


def test_a_new_announcement_replaces_the_old() -> None:
    bus = Bus()
    bus.open()
    bus.send(1)
    bus.open()
    assert [bus.send(n) for n in (1, 2, 3)][-1] == (PGN, PAYLOAD)
    assert bus.broken() == {"replaced": 1}


def test_an_abort_of_either_side_ends_it() -> None:
    for sender, to in ((0, 0xF9), (0xF9, 0)):
        bus = Bus()
        bus.open(kind=16, to=0xF9)
        bus.open(kind=255, sender=sender, to=to)
        assert [bus.send(n, to=0xF9) for n in (1, 2, 3)] == [None] * 3
        assert bus.broken() == {"aborted": 1}


def test_sizes_that_cannot_be() -> None:
    bus = Bus()
    for size, packets in ((8, 2), (0, 0), (1786, 255), (17, 2), (17, 4), (65_535, 255)):
        bus.open(size=size, packets=packets)
    bus.it.on_control(0, 255, b"\x20\x11", bus.now_s)
    assert [bus.send(n) for n in (1, 2, 3)] == [None] * 3
    assert bus.broken() == {"size": 6, "short": 1}


def test_other_groups_and_other_controls_are_nothing() -> None:
    bus = Bus()
    bus.open(pgn=0xFECA)
    for kind in (17, 19, 16):  # CTS, end of message, and a request to all, which does not exist
        bus.open(kind=kind)
    assert [bus.send(n) for n in (1, 2, 3)] == [None] * 3
    assert bus.broken() == {}


def test_memory_is_bounded() -> None:
    bus = Bus()
    for sender in range(MAX_SESSIONS + 5):
        bus.open(sender=sender)
    assert bus.broken() == {"crowded": 5}
    assert [bus.send(n, sender=0) for n in (1, 2, 3)] == [None] * 3
    assert [bus.send(n, sender=20) for n in (1, 2, 3)][-1] == (PGN, PAYLOAD)
