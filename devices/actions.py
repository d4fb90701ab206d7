"""What the sans-I/O core says: actions for the shell to do, and figures of what was done."""

from dataclasses import dataclass

from devices.wire import AppliedConfig


@dataclass(frozen=True, slots=True)
class Publish:
    """Hand a message to the link with QoS 1; the PUBACK comes back with ``token``."""

    token: int
    topic: str
    payload: bytes
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Connect:
    """Connect after ``delay_s``, with ``will()`` as the will."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class Drop:
    """Cut the link; ``on_disconnected`` follows with ``reason``."""

    reason: str


@dataclass(frozen=True, slots=True)
class Sync:
    """Have the outbox's disk sync ``files``, in a thread; ``on_synced`` or ``on_sync_failed`` follows. One at a time."""

    files: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Say:
    """Something a person should know: a constant event name and its detail."""

    event: str
    detail: str


Action = Publish | Connect | Drop | Sync | Say


@dataclass(frozen=True, slots=True)
class About:
    """What ``up/state`` says beside the figures; a change is published, except of ``undated`` alone."""

    sources: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    stuck: tuple[str, ...] = ()
    undated: int = 0
    config: AppliedConfig | None = None
    vin: str = ""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a gateway has done so far. Readings, except where the name says otherwise; of this start, except ``earlier``."""

    device: str
    boot_id: int
    sent: int  # numbered, so they will be sent
    confirmed: int
    kept_rows: int
    thinned: int
    reconnects: int
    connected: bool
    earlier: int = 0  # of earlier starts, not confirmed
    fill: float = 0.0  # share of the outbox that holds something unconfirmed, 0 to 1
    on_disk: bool = False  # what is unconfirmed outlives the process

    @property
    def unconfirmed(self) -> int:
        """Readings the server has not confirmed."""
        return self.sent - self.confirmed + self.earlier
