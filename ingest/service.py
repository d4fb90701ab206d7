"""Wiring of the write path: take messages, have the core work, commit, acknowledge. In that order, always."""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Final

from devices.counters import Counters
from ingest.config import FleetConfig
from ingest.core import ACK_EVERY_S, ConsumerCore, Publish, Work
from ingest.decode import Message
from ingest.metrics import Latencies
from ingest.revoked import RevokedList
from ingest.transport import Arrived, Link
from storage.errors import LakeInDoubtError, StorageError
from storage.lake import Commit, Lake

IDLE_S: Final = 0.02  # nothing more came for so long: commit what there is
RETRY_MAX_S: Final = 5.0  # a full disk is asked again at least so often
MAX_READINGS: Final = 400_000  # rows in one commit at most: about 400 MB of arrays
_LOG: Final = logging.getLogger("fleetco2.ingest")


class Service:
    """One consumer over one lake; ``core`` decides. ``run`` returns when ``stopping`` says so."""

    def __init__(
        self,
        config: FleetConfig,
        core: ConsumerCore,
        lake: Lake,
        link: Link,
        counters: Counters,
        now_ns: Callable[[], int],
        revoked: RevokedList | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._monotonic = monotonic
        self._sleep = sleep
        self._config = config
        self._core = core
        self._lake = lake
        self._link = link
        self._counters = counters
        self._now_ns = now_ns
        self._revoked = revoked
        if revoked is not None:
            core.revoked = revoked.devices
        self.receive_to_commit = Latencies()
        self.reading_to_commit = Latencies()
        self.commit_time = Latencies()

    def run(self, stopping: Callable[[], bool]) -> None:
        """Work until ``stopping()``; then commit what was taken and return."""
        while not stopping():
            if self._revoked is not None and self._revoked.look(self._monotonic()):
                self._core.revoked = self._revoked.devices
            begun = self._monotonic()
            readings = self._work(self._gather())
            self._say(self._core.due(self._monotonic()))
            self._hold_back(begun, readings, stopping)
        self._say(self._core.due(self._monotonic(), at_once=True))

    def gauges(self) -> dict[str, float]:
        """What stands now, for the metrics."""
        return {
            "connected": float(self._link.connected),
            "queue_messages": float(self._link.queued),
            "waiting_readings": float(self._core.state.waiting["seq"].size),
            "holes_open": float(self._core.open_holes),
            "backlog_age_seconds": self._core.backlog_age_s(self._now_ns()),
        }

    def _gather(self) -> list[Arrived]:
        """Messages for one commit: until none came for a moment, the time is up, or it is full."""
        config = self._config.commit
        batch = self._link.take(config.max_messages, ACK_EVERY_S)
        until = self._monotonic() + config.flush_s
        size = sum(len(m.payload) for m in batch)
        while batch and len(batch) < config.max_messages and size < 16 * MAX_READINGS:
            left = until - self._monotonic()
            if left <= 0:
                break
            more = self._link.take(config.max_messages - len(batch), min(IDLE_S, left))
            if not more:
                break
            size += sum(len(m.payload) for m in more)
            batch += more
        return batch

    def _hold_back(self, begun: float, readings: int, stopping: Callable[[], bool]) -> None:
        """Wait until so many readings may have been taken since ``begun``. What comes meanwhile stays with broker and gateways."""
        most = self._config.commit.most_readings_per_s
        until = begun + readings / most if most else begun
        while (left := until - self._monotonic()) > 0 and not stopping():
            self._sleep(min(left, ACK_EVERY_S))
            self._say(self._core.due(self._monotonic()))

    def _work(self, arrived: list[Arrived]) -> int:
        """One step, one commit, then the acknowledgement; gives the readings that came."""
        if arrived:
            self._counters.add("messages_received", len(arrived))
        messages = [Message(m.topic, m.payload, m.received_ns, m.retained) for m in arrived]
        work = self._core.take(messages, self._monotonic(), self._now_ns())
        if work is not None:
            if work.worth:
                self._commit(work.commit)
            self._core.stored(work, self._monotonic())
            self._time(work)
        self._link.acknowledge(arrived)
        return work.readings if work is not None else 0

    def _commit(self, commit: Commit) -> None:
        """Commit, and again while the disk refuses: nothing is acknowledged meanwhile, so the gateways keep it all."""
        wait_s, begun = 0.1, self._monotonic()
        while True:
            try:
                self._lake.commit(commit)
            except LakeInDoubtError:
                raise  # only a new handle can tell; the supervisor starts this process again
            except StorageError as error:
                self._counters.add("commit_failed")
                _LOG.error("commit_failed retry_s=%.1f %s", wait_s, error)
                self._sleep(wait_s)
                wait_s = min(2 * wait_s, RETRY_MAX_S)
            else:
                self._counters.add("commits")
                self.commit_time.add(self._monotonic() - begun)
                return

    def _time(self, work: Work) -> None:
        readings = work.results.readings
        if readings["seq"].size:
            now = self._now_ns()
            self.receive_to_commit.add((now - int(readings["received_ns"].min())) * 1e-9)
            self.reading_to_commit.add((now - int(readings["time_ns"].min())) * 1e-9)

    def _say(self, messages: Iterable[Publish]) -> None:
        for message in messages:
            self._link.publish(message.topic, message.payload)
