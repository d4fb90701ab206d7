"""Wiring of the write path: take messages, decode, step, commit, acknowledge. In that order, always."""

import logging
import time
from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np

from devices.counters import Counters
from devices.wire import Ack, parse_topic, topic
from ingest.config import FleetConfig
from ingest.decode import Decoded, Message, decode
from ingest.metrics import Latencies
from ingest.quarantine import refused
from ingest.transport import Arrived, Link
from storage.errors import LakeInDoubtError, StorageError
from storage.lake import Commit, Lake
from storage.quarantine import Refused, quarantine_table
from storage.schema import Names, to_arrow
from stream.fleet import Fleet
from stream.pipeline import Results, State, step

ACK_EVERY_S: Final = 0.25  # "durable up to" is cumulative: at most four a second and device
IDLE_S: Final = 0.02  # nothing more came for so long: commit what there is
RETRY_MAX_S: Final = 5.0  # a full disk is asked again at least so often
MAX_READINGS: Final = 400_000  # rows in one commit at most: about 400 MB of arrays
_LOG: Final = logging.getLogger("fleetco2.ingest")


class Service:
    """One consumer over one lake. ``run`` returns when ``stopping`` says so."""

    def __init__(
        self,
        config: FleetConfig,
        fleet: Fleet,
        lake: Lake,
        state: State,
        link: Link,
        counters: Counters,
        now_ns: Callable[[], int],
    ) -> None:
        self._config = config
        self._fleet = fleet
        self._lake = lake
        self._state = state
        self._link = link
        self._counters = counters
        self._now_ns = now_ns
        self._names = Names(
            device=fleet.devices,
            asset=fleet.assets,
            route=fleet.route_names,
            place=fleet.place_names,
            region=fleet.region_names,
        )
        self._tenant_of: dict[str, str] = {}
        self._unsaid: set[int] = set(np.flatnonzero(state.rows["boot_id"]).tolist())
        self._said_at = 0.0
        self.receive_to_commit = Latencies()
        self.reading_to_commit = Latencies()

    def run(self, stopping: Callable[[], bool]) -> None:
        """Work until ``stopping()``; then commit what was taken and return."""
        while not stopping():
            self._work(self._gather())
            self._say_durable()
        self._say_durable(at_once=True)

    def _gather(self) -> list[Arrived]:
        """Messages for one commit: until none came for a moment, the time is up, or it is full."""
        config = self._config.commit
        batch = self._link.take(config.max_messages, ACK_EVERY_S)
        until = time.monotonic() + config.flush_s
        size = sum(len(m.payload) for m in batch)
        while batch and len(batch) < config.max_messages and size < 16 * MAX_READINGS:
            left = until - time.monotonic()
            if left <= 0:
                break
            more = self._link.take(config.max_messages - len(batch), min(IDLE_S, left))
            if not more:
                break
            size += sum(len(m.payload) for m in more)
            batch += more
        return batch

    def _work(self, arrived: list[Arrived]) -> None:
        if not arrived:
            return
        self._counters.add("messages_received", len(arrived))
        readings: list[Message] = []
        for m in arrived:
            parsed = parse_topic(m.topic)
            if parsed is not None and parsed.leaf == "up/state":
                self._counters.add("states_received")
                continue
            if parsed is not None and parsed.tenant in self._config.tenants:
                self._tenant_of[parsed.device] = parsed.tenant
            readings.append(Message(m.topic, m.payload, m.received_ns))
        if readings:
            decoded = decode(
                readings, self._fleet.device_index, self._config.tenants, earliest_ns=self._config.earliest_ns
            )
            self._store(decoded)
        self._link.acknowledge(arrived)

    def _store(self, decoded: Decoded) -> None:
        """One step, one commit. Returns only when it is on disk."""
        state, results = step(self._state, decoded.columns)
        factor_set = self._fleet.factor_set
        kept = list(refused(decoded, self._fleet.device_index, self._state.rows, state.rows))
        commit = Commit(
            readings=to_arrow("readings", results.readings, self._names),
            emissions=to_arrow("emissions", results.emissions, self._names),
            rollups=to_arrow("rollups", results.rollups, self._names),
            trips=to_arrow("trips", results.trips, self._names),
            events=to_arrow("events", results.events, self._names),
            quarantine=quarantine_table(kept),
            factor_set=factor_set,
            state=state.to_bytes(),
        )
        if results.accepted or kept:
            self._commit(commit)
        self._state = state
        self._unsaid.update(results.touched.tolist())
        self._count(decoded, results, kept)

    def _commit(self, commit: Commit) -> None:
        """Commit, and again while the disk refuses: nothing is acknowledged meanwhile, so the gateways keep it all."""
        wait_s = 0.1
        while True:
            try:
                self._lake.commit(commit)
            except LakeInDoubtError:
                raise  # only a new handle can tell; the supervisor starts this process again
            except StorageError as error:
                self._counters.add("commit_failed")
                _LOG.error("commit_failed retry_s=%.1f %s", wait_s, error)
                time.sleep(wait_s)
                wait_s = min(2 * wait_s, RETRY_MAX_S)
            else:
                self._counters.add("commits")
                return

    def _count(self, decoded: Decoded, results: Results, kept: list[Refused]) -> None:
        count = self._counters.add
        count("readings_received", decoded.n)
        count("readings_stored", results.readings["seq"].size)
        count("readings_duplicate", results.duplicates)
        count("readings_waiting_dropped", results.dropped)
        for row in kept:
            count("rejected" if row.seq is None else "values_quarantined", label=row.reason)
        if results.readings["seq"].size:
            now = self._now_ns()
            self.receive_to_commit.add((now - int(results.readings["received_ns"].min())) * 1e-9)
            self.reading_to_commit.add((now - int(results.readings["time_ns"].min())) * 1e-9)

    def _say_durable(self, *, at_once: bool = False) -> None:
        """Tell each gateway that was heard how far its readings are on disk."""
        now = time.monotonic()
        if not self._unsaid or not (at_once or now - self._said_at >= ACK_EVERY_S):
            return
        self._said_at = now
        for device in self._unsaid:
            name = self._fleet.devices[device]
            tenant = self._tenant_of.get(name)
            row = self._state.rows[device]
            if tenant is None or not row["boot_id"]:
                continue
            ack = Ack(boot_id=int(row["boot_id"]), next=int(row["next_seq"]))
            self._link.publish(topic(tenant, name, "dn/ack"), msgspec.json.encode(ack))
            self._counters.add("acks_published")
        self._unsaid.clear()
