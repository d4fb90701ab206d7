"""Multi-packet messages of J1939-21, overheard: broadcasts (BAM) and sessions between two others (RTS/CTS). Pure.

Nothing is ever sent: no address is claimed, no CTS answered. So a lost packet is lost, and its message is given up.

    TP.CM (PGN 0xEC00)  byte 1: 32 BAM, 16 RTS, 255 abort · 2-3 size · 4 packets · 6-8 PGN, all little-endian
    TP.DT (PGN 0xEB00)  byte 1: number of the packet from 1 · 2-8 data, the last one filled up with 0xFF
"""

from collections.abc import Set
from dataclasses import dataclass, field
from typing import Final

from devices.counters import Counters

TIMEOUT_S: Final = 1.25  # between two packets; J1939-21 allows 0.75 s (T1) to 1.25 s (T2)
MAX_SESSIONS: Final = 32  # at once; a bus has some 30 senders, each with one broadcast and seldom a session
_RTS, _BAM, _ABORT = 16, 32, 255
_LEAST, _MOST = 9, 1785  # bytes of a multi-packet message
_BROADCAST: Final = 255


@dataclass(slots=True)
class _Session:
    pgn: int
    size: int
    packets: int
    at_s: float
    data: bytearray = field(default_factory=bytearray)
    got: int = 0


class Reassembler:
    """Puts the packets of the ``wanted`` parameter groups together; the others cost no memory."""

    __slots__ = ("_counters", "_sessions", "_wanted")

    def __init__(self, wanted: Set[int], counters: Counters) -> None:
        self._wanted = wanted
        self._counters = counters
        self._sessions: dict[tuple[int, int], _Session] = {}  # by sender and destination, oldest first

    def on_control(self, sender: int, destination: int, data: bytes, now_s: float) -> None:
        """A TP.CM frame opens, replaces or aborts a session; what cannot be is counted."""
        if len(data) < 8:
            self._broken("short")
            return
        pgn = int.from_bytes(data[5:8], "little")
        if pgn not in self._wanted:
            return
        if data[0] == _ABORT:
            for key in ((sender, destination), (destination, sender)):
                if key in self._sessions and self._sessions[key].pgn == pgn:
                    del self._sessions[key]
                    self._broken("aborted")
        elif data[0] == _BAM or (data[0] == _RTS and destination != _BROADCAST):
            size, packets = data[1] | data[2] << 8, data[3]
            if not _LEAST <= size <= _MOST or packets != -(-size // 7):
                self._broken("size")
                return
            if self._sessions.pop((sender, destination), None) is not None:
                self._broken("replaced")
            elif len(self._sessions) >= MAX_SESSIONS:
                del self._sessions[next(iter(self._sessions))]
                self._broken("crowded")
            self._sessions[sender, destination] = _Session(pgn, size, packets, now_s)

    def on_packet(self, sender: int, destination: int, data: bytes, now_s: float) -> tuple[int, bytes] | None:
        """A TP.DT frame; gives parameter group and bytes of the message that it completes."""
        key = (sender, destination)
        session = self._sessions.get(key)
        if session is None:
            return None
        reason = ""
        if now_s - session.at_s > TIMEOUT_S:
            reason = "timeout"
        elif len(data) < 8:
            reason = "short"
        elif data[0] <= session.got and destination != _BROADCAST:  # sent again because the receiver asked for it
            session.at_s = now_s
            return None
        elif data[0] != session.got + 1:
            reason = "gap"
        if reason:
            del self._sessions[key]
            self._broken(reason)
            return None
        session.at_s = now_s
        session.got += 1
        session.data += data[1:]
        if session.got < session.packets:
            return None
        del self._sessions[key]
        return session.pgn, bytes(session.data[: session.size])

    def _broken(self, reason: str) -> None:
        self._counters.add("can_transfer_broken", label=reason)
