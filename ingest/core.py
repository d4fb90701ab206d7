"""What the consumer decides, without sockets, disk or clock: messages in, a commit and what to say out.

``take`` gives the ``Work`` for one commit; when that is on disk, and only then, ``stored`` takes it in, the messages may be
acknowledged to the broker, and ``due`` gives what the gateways are to be told. ``now`` is monotonic [s].
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Final, NamedTuple

import msgspec
import numpy as np

from devices.counters import Counters
from devices.wire import Ack, Hole, Position, Topic, parse_topic, topic
from ingest.config import FleetConfig
from ingest.decode import Decoded, Message, Rejected, decode
from ingest.envelope import Framed, Held, batches_table, framed
from ingest.gateways import GatewayStates, read_state, row_of
from ingest.holes import Gap, Holes, gap_of, next_of, passed_over
from ingest.message import Refusal
from ingest.quarantine import Refusals
from ingest.rounds import next_part
from ingest.signatures import Signatures
from storage.gateways import gateways_table
from storage.landing import Commit
from storage.quarantine import Refused, quarantine_table
from storage.schema import names_of, to_arrow
from stream.columns import READING
from stream.fleet import Fleet, Vehicle, Warehouse
from stream.pipeline import Columns, Results, State, empty_columns, step

ACK_EVERY_S: Final = 0.25  # "durable up to" is cumulative: at most four a second and device
VINS_TOLD: Final = 10_000  # mismatches remembered, so that each is kept once
_Told = tuple[Gap, str, str]  # a gap, the topic that told it, why it is one


class Publish(NamedTuple):
    """A message to a gateway."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Work:
    """One commit. ``worth``: there is something to put on disk."""

    commit: Commit
    worth: bool
    state: State
    state_at: int  # device up to which the round of kept states has come with it
    results: Results
    kept: tuple[Refused, ...]
    readings: int  # decoded
    lost: int  # readings passed over because they are gone
    heard: tuple[tuple[int, int], ...]  # device, boot
    backlog_ns: int  # oldest time of late data, 0 without any


class ConsumerCore:
    """The state of one consumer."""

    def __init__(
        self, config: FleetConfig, fleet: Fleet, state: State, counters: Counters, signatures: Signatures | None = None
    ) -> None:
        self.state = state
        self._config = config
        self._fleet = fleet
        self._counters = counters
        self._signatures = signatures or Signatures({})
        self._names = names_of(fleet)
        fitted: list[Vehicle | Warehouse] = [*fleet.vehicles, *fleet.warehouses]
        self._owners = {t.device: t.tenant for t in fitted if t.tenant}
        self._vins = {v.device: v.vin for v in fleet.vehicles if v.vin}
        self._vins_told: set[tuple[str, str]] = set()
        self._tenant_of: dict[int, str] = {}
        self.revoked: frozenset[str] = frozenset()  # ids whose messages are refused; may be replaced at any time
        self._held = Held()
        self._refusals = Refusals()
        self._holes = Holes(config.hole_s, config.hole_lost_s)
        self._gateways = GatewayStates(len(fleet.devices))
        self._unsaid: dict[int, set[int]] = {int(d): set() for d in np.flatnonzero(state.rows["boot_id"])}
        self._said_at = 0.0
        self._backlog_ns = 0
        self._state_at: int | None = None

    @property
    def open_holes(self) -> int:
        """Places where later readings wait for missing ones."""
        return len(self._holes)

    def backlog_age_s(self, now_ns: int) -> float:
        """Age of the oldest late reading in the newest commit, 0 if it had none."""
        return max(0, now_ns - self._backlog_ns) * 1e-9 if self._backlog_ns else 0.0

    def take(self, messages: Sequence[Message], now: float, now_ns: int) -> Work | None:
        """Decode, check and step ``messages``; None if there is nothing to do. ``stored`` must follow before the next."""
        readings: list[Message] = []
        rejected: list[Rejected] = []
        kept: list[Refused] = []
        gaps = [(gap, "", "asked for in vain") for gap in self._holes.given_up(now)]
        addresses: dict[str, Topic | None] = {}
        for m in messages:
            if m.topic not in addresses:
                addresses[m.topic] = parse_topic(m.topic)
            where = addresses[m.topic]
            if where is not None and where.device in self.revoked:
                rejected.append(_refuse(m, Refusal("device_revoked", where.device)))
            elif where is None or where.leaf in ("up/readings", "up/json"):
                if where is not None and self._owners.get(where.device, where.tenant) != where.tenant:
                    rejected.append(_refuse(m, Refusal("tenant_mismatch", "the registry has it under another tenant")))
                else:
                    readings.append(m)
            elif where.leaf == "up/state":
                self._counters.add("states_received")
                told = self._look_at_state(m, where, now)
                if isinstance(told, Rejected):
                    rejected.append(told)
                elif told is not None:
                    kept.append(told)
            elif where.leaf == "up/gone":
                gone = self._gone(m, where)
                if isinstance(gone, Rejected):
                    rejected.append(gone)
                elif gone is not None:
                    gaps.append((gone, m.topic, "the gateway has them no more"))
        states = self._gateways.due(now, at_once=bool(readings or rejected or kept or gaps))
        if not readings and not rejected and not kept and not gaps and not states:
            return None
        frames = self._frames(readings, addresses)
        decoded = self._decoded(readings, addresses, frames)
        bad = {id(r.payload) for r in decoded.rejected}
        decoded.rejected.extend(rejected)
        before = self.state
        state, results = step(before, decoded.columns)
        gaps = _still_open(gaps, state)
        if gaps:  # after the readings, which may hold what was thought to be gone
            state, more = step(state, passed_over([gap for gap, _, _ in gaps], now_ns))
            results = _joined(results, more)

        @cache
        def taken(device: int, boot: int) -> tuple[int, int]:
            return next_of(before.rows, device, boot), next_of(state.rows, device, boot)

        kept += self._refusals.settle(decoded, lambda device, boot: taken(self._fleet.device_index[device], boot))
        kept += [self._lost(gap, where_from, why, now_ns) for gap, where_from, why in gaps]
        new = self._held.settle((f for f in frames if id(f.message.payload) not in bad), taken)
        if self._held.full or self._refusals.full:
            self._held.clear()
            self._refusals.clear()
            dropped = state.waiting["seq"].size
            state = replace(state, waiting=empty_columns(READING))
            results = replace(results, waiting=0, dropped=results.dropped + dropped)
        part, state_at = next_part(state, self._state_at)
        commit = Commit(
            readings=to_arrow("readings", results.readings, self._names),
            emissions=to_arrow("emissions", results.emissions, self._names),
            rollups=to_arrow("rollups", results.rollups, self._names),
            trips=to_arrow("trips", results.trips, self._names),
            events=to_arrow("events", results.events, self._names),
            quarantine=quarantine_table(kept),
            factor_set=self._fleet.factor_set,
            state=part,
            batches=batches_table(new),
            gateways=gateways_table(states),
        )
        heard = _boots(decoded.columns) | {(gap.device, gap.boot_id) for gap, _, _ in gaps}
        return Work(
            commit=commit,
            worth=bool(results.accepted or kept or states),
            state=state,
            state_at=state_at,
            results=results,
            kept=tuple(kept),
            readings=decoded.n,
            lost=sum(gap.end - gap.begin for gap, _, _ in gaps),
            heard=tuple(sorted(heard)),
            backlog_ns=_oldest_late(results.readings),
        )

    def stored(self, work: Work, now: float) -> None:
        """The commit of ``work`` is on disk, or it was not worth one. States before this one are spent."""
        self.state = work.state.settled()
        if work.worth:
            self._state_at = work.state_at
        self._backlog_ns = work.backlog_ns
        self._holes.on_state(self.state.rows, self.state.waiting, now)
        for device, boot in work.heard:
            self._unsaid.setdefault(device, set()).add(boot)
            self._holes.on_heard(device)
        count, results = self._counters.add, work.results
        count("readings_received", work.readings)
        count("readings_stored", results.readings["seq"].size)
        count("readings_duplicate", results.duplicates)
        count("readings_waiting_dropped", results.dropped)
        count("readings_lost", work.lost)
        for row in work.kept:
            if row.reason == "hole":
                count("holes")
            elif row.reason == "vin_mismatch":
                count("vin_mismatch")
            else:
                count("rejected" if row.seq is None else "values_quarantined", label=row.reason)

    def due(self, now: float, *, at_once: bool = False) -> list[Publish]:
        """How far each gateway that was heard is on disk, and holes to be asked for."""
        if not (at_once or now - self._said_at >= ACK_EVERY_S):
            return []
        self._said_at = now
        said: list[Publish] = []
        for device, boots in self._unsaid.items():
            tenant, row = self._tenant(device), self.state.rows[device]
            if tenant is None or not row["boot_id"]:
                continue
            old = tuple(
                Position(int(boot), int(next_seq))
                for boot, next_seq in zip(row["old_boots"], row["old_next"], strict=True)
                if int(boot) in boots
            )
            ack = Ack(int(row["boot_id"]), int(row["next_seq"]), old)
            said.append(Publish(topic(tenant, self._fleet.devices[device], "dn/ack"), msgspec.json.encode(ack)))
        self._counters.add("acks_published", len(said))
        self._unsaid.clear()
        for gap in self._holes.due(now):
            if (tenant := self._tenant(gap.device)) is not None:
                self._counters.add("nacks_published")
                where = topic(tenant, self._fleet.devices[gap.device], "dn/nack")
                said.append(Publish(where, msgspec.json.encode(Hole(gap.boot_id, gap.begin, gap.end))))
        return said

    def _tenant(self, device: int) -> str | None:
        """Under which tenant a device was last heard."""
        return self._tenant_of.get(device)

    def _frames(self, readings: Sequence[Message], addresses: dict[str, Topic | None]) -> list[Framed]:
        found: list[Framed] = []
        for m in readings:
            where = addresses[m.topic]
            if where is None or where.tenant not in self._config.tenants:
                continue
            code = self._fleet.device_index.get(where.device)
            if code is None:
                continue
            self._tenant_of[code] = where.tenant
            if where.leaf == "up/readings" and (frame := framed(m, where.tenant, where.device, code)) is not None:
                found.append(frame)
        return found

    def _decoded(
        self, readings: Sequence[Message], addresses: dict[str, Topic | None], frames: Sequence[Framed]
    ) -> Decoded:
        """The readings of messages that are signed as they must be."""
        sealed = {id(f.message): f.sealed for f in frames}
        good: list[Message] = []
        bad: list[Rejected] = []
        for m in readings:
            where = addresses[m.topic]
            why = None
            if where is not None and self._signatures.wanted(where.device):
                why = self._signatures.check(m, where.tenant, where.device, sealed.get(id(m)))
            if why is None or not self._is_known(where):
                good.append(m)
            else:
                bad.append(_refuse(m, why))
        decoded = self._decode(good)
        decoded.rejected.extend(bad)
        return decoded

    def _is_known(self, where: Topic | None) -> bool:
        """Whether tenant and device are ours; otherwise that is the plainer reason."""
        return where is not None and where.tenant in self._config.tenants and where.device in self._fleet.device_index

    def _decode(self, readings: Sequence[Message]) -> Decoded:
        config = self._config
        return decode(readings, self._fleet.device_index, config.tenants, earliest_ns=config.earliest_ns)

    def _device(self, m: Message, where: Topic) -> int | Rejected:
        """The number of a registered device that speaks under its own tenant."""
        device = self._fleet.device_index.get(where.device)
        if where.tenant not in self._config.tenants or self._owners.get(where.device, where.tenant) != where.tenant:
            return _refuse(m, Refusal("tenant_unknown", where.tenant))
        return _refuse(m, Refusal("device_unknown", where.device)) if device is None else device

    def _gone(self, m: Message, where: Topic) -> Gap | Rejected | None:
        device = self._device(m, where)
        if isinstance(device, Rejected):
            return device
        try:
            hole = msgspec.json.decode(m.payload, type=Hole)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return _refuse(m, Refusal("bad_json", str(error)))
        self._tenant_of[device] = where.tenant
        return gap_of(hole, device, self.state.rows)

    def _lost(self, gap: Gap, where: str, why: str, now_ns: int) -> Refused:
        device = self._fleet.devices[gap.device]
        detail = f"the readings {gap.begin} to {gap.end - 1} are lost: {why}"
        payload = msgspec.json.encode(Hole(gap.boot_id, gap.begin, gap.end))
        tenant = self._tenant(gap.device)
        return Refused(now_ns, where, "hole", detail, payload, tenant, device, gap.boot_id, gap.begin)

    def _look_at_state(self, m: Message, where: Topic, now: float) -> Refused | Rejected | None:
        """Hold what a gateway says of itself. Told: what is no state, and a birth that names another vehicle than the registry, once:
        the gateway sits in the wrong truck, or says it is another."""
        device = self._device(m, where)
        if isinstance(device, Rejected):
            return device
        state = read_state(m)
        if isinstance(state, Refusal):
            return _refuse(m, state)
        self._gateways.take(device, row_of(m, where.tenant, where.device, state), m.payload, now)
        wanted, told = self._vins.get(where.device), (where.device, state.vin)
        if wanted in (None, state.vin) or not state.vin or told in self._vins_told or len(self._vins_told) >= VINS_TOLD:
            return None
        self._vins_told.add(told)
        detail = f"the gateway is in the vehicle {state.vin[:40]}, the registry has {wanted}"
        return Refused(m.received_ns, m.topic, "vin_mismatch", detail, m.payload, where.tenant, where.device)


def _refuse(m: Message, why: Refusal) -> Rejected:
    return Rejected(why.reason, m.topic, m.payload, m.received_ns, why.detail[:200])


def _still_open(gaps: Sequence[_Told], state: State) -> list[_Told]:
    """The gaps as far as ``state`` still waits for them, each once."""
    found: list[_Told] = []
    begins: dict[tuple[int, int], int] = {}
    for gap, where, why in gaps:
        key = gap.device, gap.boot_id
        begin = begins.get(key, next_of(state.rows, *key))
        if gap.begin <= begin < gap.end:
            found.append((gap._replace(begin=begin), where, why))
            begins[key] = gap.end
    return found


def _joined(first: Results, then: Results) -> Results:
    """Results of one step and of the next."""

    def both(name: str) -> Columns:
        a, b = getattr(first, name), getattr(then, name)
        return {column: np.concatenate([values, b[column]]) for column, values in a.items()}

    return Results(
        readings=both("readings"),
        emissions=both("emissions"),
        rollups=both("rollups"),
        trips=both("trips"),
        events=both("events"),
        touched=np.union1d(first.touched, then.touched).astype(np.int32),
        accepted=first.accepted + then.accepted,
        duplicates=first.duplicates + then.duplicates,
        waiting=then.waiting,
        dropped=first.dropped + then.dropped,
    )


def _boots(columns: Columns) -> set[tuple[int, int]]:
    """Each (device, boot) that has a row. Rows of a message lie together: only where one of the two changes is looked at."""
    device, boot = columns["device"], columns["boot_id"]
    changes = np.flatnonzero((device[1:] != device[:-1]) | (boot[1:] != boot[:-1])) + 1
    at = np.concatenate(([0], changes)) if device.size else changes
    return set(zip(device[at].tolist(), boot[at].tolist(), strict=True))


def _oldest_late(readings: Columns) -> int:
    late = readings["historical"]
    return int(readings["time_ns"][late].min()) if late.size and late.any() else 0
