"""The simulator can fail: mistakes planted in the delivery are found within a few seeds."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

import devices.records
import ingest.core
import stream.pipeline
from devices.actions import Action
from devices.core import GatewayCore
from devices.store import Store
from ingest.decode import Message
from ingest.service import Service
from tests.system.vopr.world import FailedError, run_seed

SEEDS = range(1000, 1012)
Plant = Callable[[pytest.MonkeyPatch], None]


def frees_on_puback(patch: pytest.MonkeyPatch) -> None:
    real = GatewayCore.on_puback

    def on_puback(self: Any, token: int, reason: int, now: float) -> list[Action]:
        actions = real(self, token, reason, now)
        if self._ring.entries and self._ring.entries[0].sent:
            self._ring.confirm(self._ring.entries[0].boot_id, self._ring.entries[0].end)
        return actions

    patch.setattr(GatewayCore, "on_puback", on_puback)


def acknowledges_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    def work(self: Any, arrived: list[Any]) -> None:
        messages = [Message(m.topic, m.payload, m.received_ns) for m in arrived]
        found = self._core.take(messages, self._monotonic(), self._now_ns())
        if found is not None:
            self._core.stored(found, self._monotonic())
            self._say(self._core.due(self._monotonic(), at_once=True))
            if found.worth:
                self._commit(found.commit)
        self._link.acknowledge(arrived)

    patch.setattr(Service, "_work", work)


def forgets_earlier_boots(patch: pytest.MonkeyPatch) -> None:

    def step(state: Any, batch: Any) -> Any:
        after, results = stream.pipeline.step(state, batch)
        after.rows.rows["old_boots"][:] = 0
        return after, results

    patch.setattr(ingest.core, "step", step)


def does_not_sync(patch: pytest.MonkeyPatch) -> None:
    real = Store.commit

    def commit(self: Any, now: float, cursor: int, *, ending: bool) -> list[Action]:
        if real(self, now, cursor, ending=ending):
            self.on_synced()
        return []

    patch.setattr(Store, "commit", commit)


def takes_any_ack_for_its_own(patch: pytest.MonkeyPatch) -> None:
    real = GatewayCore._on_position
    patch.setattr(
        GatewayCore, "_on_position", lambda self, _, next_seq: real(self, self.boot_id, min(next_seq, self._sent_end))
    )


def believes_acks_of_the_future(patch: pytest.MonkeyPatch) -> None:
    real = GatewayCore._on_position
    patch.setattr(
        GatewayCore,
        "_on_position",
        lambda self, boot, n: real(self, boot, min(n, self._sent_end) if boot == self.boot_id else n),
    )


def ignores_checksums(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(devices.records, "zlib", SimpleNamespace(crc32=lambda *_: 0))


PLANTED: dict[Plant, set[str]] = {
    frees_on_puback: {"freed", "lost"},
    acknowledges_before_the_commit: {"early"},
    forgets_earlier_boots: {"duplicated", "settle", "lost"},
    does_not_sync: {"lost", "altered", "unsynced"},
    takes_any_ack_for_its_own: {"freed", "lost"},
    believes_acks_of_the_future: {"freed"},
    ignores_checksums: {"settle", "altered", "invented", "lost", "freed", "ValueError"},
}


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_mistake_is_found_within_a_few_seeds(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    found = next((what for seed in SEEDS if (what := _failure(seed)) is not None), None)
    assert found in PLANTED[plant]


def _failure(seed: int) -> str | None:
    try:
        run_seed(seed, 4.0)
    except FailedError as found:
        return found.what
    return None
