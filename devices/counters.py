"""Every counter of the system, by name. Gateway and server count with the same tiny class."""

from collections.abc import Mapping
from typing import Final, Literal, get_args

CounterName = Literal[
    # gateway: sources
    "source_failed",  # gateway: a source raised and was started again, by source
    "signal_unknown",  # gateway: a source gave a name that is no signal, by name; the value is dropped
    "value_out_of_range",  # gateway: a value not finite or outside the signal's range, by signal; the value is dropped
    "time_impossible",  # gateway: a sample whose time does not fit the wire; the sample is dropped
    "csv_cell_unparsable",  # gateway: a cell that is no number, by column; the value is absent
    "csv_row_unparsable",  # gateway: a row whose cells or time cannot be told; the row is skipped
    # gateway: outbox and delivery
    "readings_numbered",  # gateway: readings that got a seq
    "readings_confirmed",  # gateway: readings below the server's cumulative acknowledgement
    "readings_thinned",  # gateway: readings that no longer travel as a row of their own, merged into a neighbour
    "batches_published",  # gateway: batches handed to the link, repeats included
    "batches_repeated",  # gateway: batches that hold a reading published before
    "publish_refused",  # gateway: the broker's PUBACK said "not delivered", by reason code
    "ack_unreadable",  # gateway: a message on dn/ack that is no Ack
    "ack_other_boot",  # gateway: an Ack of another boot, as a broker that retains shows after a restart
    "ack_beyond_sent",  # gateway: an Ack above everything published; ignored
    "stalled",  # gateway: no confirmation in time, so it went back to the first unconfirmed reading
    # gateway: link
    "connect_failed",  # gateway: an attempt to connect that failed, by reason
    "connected",  # gateway: connections that were made
    "disconnected",  # gateway: connections that were lost
    # server
    "messages_received",  # server: messages taken from the broker
    "readings_received",  # server: readings decoded, copies included
    "readings_stored",  # server: readings committed to the table of readings
    "readings_duplicate",  # server: readings dropped because they were taken before
    "readings_waiting_dropped",  # server: readings that came too early and found no room to wait; their gateway sends again
    "rejected",  # server: messages kept in quarantine, by reason
    "values_quarantined",  # server: single values or rows kept in quarantine, by reason
    "states_received",  # server: birth and death messages of gateways
    "commits",  # server: commits to the lake
    "commit_failed",  # server: commits that the disk refused; tried again with the same data
    "acks_published",  # server: "durable up to" messages sent to gateways
]
NAMES: Final[tuple[CounterName, ...]] = get_args(CounterName)
MAX_LABELS: Final = 200  # labels per counter; more than there are signals, few enough for a page. The rest is "other"


class Counters:
    """Counts by name, some also by label. For one thread: an event loop, or one consumer; nothing here is locked."""

    __slots__ = ("_labels", "_totals")

    def __init__(self) -> None:
        self._totals: dict[CounterName, int] = {}
        self._labels: dict[CounterName, dict[str, int]] = {}

    def add(self, name: CounterName, n: int = 1, label: str = "") -> None:
        """Count ``n`` more; with a label also under it."""
        self._totals[name] = self._totals.get(name, 0) + n
        if label:
            labels = self._labels.setdefault(name, {})
            if label not in labels and len(labels) >= MAX_LABELS:
                label = "other"
            labels[label] = labels.get(label, 0) + n

    def __getitem__(self, name: CounterName) -> int:
        return self._totals.get(name, 0)

    def by_label(self, name: CounterName) -> Mapping[str, int]:
        """A copy of the counts of ``name`` by label; what was counted without one is not in it."""
        return dict(self._labels.get(name, {}))

    def snapshot(self) -> dict[CounterName, int]:
        """A copy of all totals that are not 0."""
        return dict(self._totals)
