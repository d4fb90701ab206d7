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
    # gateway: buses
    "can_frames",  # gateway: CAN frames read
    "can_pgn_unknown",  # gateway: frames of a parameter group that is not decoded
    "can_frame_not_j1939",  # gateway: frames with an 11-bit identifier, remote frames, frames of more than 8 bytes
    "can_frame_short",  # gateway: frames that end before the value, by SPN; the value is absent
    "can_raw_unusable",  # gateway: raw codes that are no value, by SPN and not_available, error or reserved
    "can_source_conflict",  # gateway: values of another sender than the first valid one, by SPN; ignored
    "can_transfer_broken",  # gateway: multi-packet messages given up, by reason
    "can_vin_unreadable",  # gateway: vehicle identifications that are no VIN
    "can_vin_other",  # gateway: vehicle identifications that differ from the configured one; readings are withheld
    "can_bus_error",  # gateway: error frames of the CAN controller
    "can_silent",  # gateway: times the bus fell silent
    "can_value_withheld",  # gateway: values that the configuration leaves open, by signal; a reading each
    "signal_stuck",  # gateway: times a value stood still while others said it must move, by signal
    "gps_sentence_refused",  # gateway: lines of a receiver that were not used, by reason
    "gps_message_refused",  # gateway: messages of gpsd that cannot be read
    "gps_fix_refused",  # gateway: positions that were not used, by reason
    "gps_time_refused",  # gateway: receiver times that were not believed, by reason
    "gps_clock_differs",  # gateway: positions stamped with the arrival, because receiver and system clock disagree
    # gateway: firmware nodes, by source
    "firmware_frame_damaged",  # gateway: a frame whose checksum or form does not fit
    "firmware_frame_newer",  # gateway: a sound frame of a version not known here
    "firmware_record_lost",  # gateway: a record that the node no longer has
    "firmware_record_undated",  # gateway: a record of a start whose time nobody knows; its counters are in the next
    "firmware_record_repeated",  # gateway: a record that came again
    # gateway: meters
    "meter_silent",  # gateway: a meter that did not answer, by meter
    "meter_refused",  # gateway: a meter that is not what it should be, or reports an exception, by meter and reason
    "meter_returned",  # gateway: a meter that answers again as it should, by meter
    "meter_exchanged",  # gateway: a meter that has another serial number than before, by meter
    "meter_value_absent",  # gateway: a register that says "not available", by signal
    "meter_value_refused",  # gateway: a value that cannot be, by signal and reason; it is dropped
    "meter_counter_anew",  # gateway: a counter that fell or jumped and was taken up anew, by signal
    "meter_sum_incomplete",  # gateway: a signal fed by several meters of which one is missing, by signal; it is left out
    "message_unreadable",  # gateway: a message or file of a device or WMS that cannot be read, by source
    "message_value_unreadable",  # gateway: a value in it that is no number, by signal; it is absent
    "message_stale",  # gateway: a value that was seen before or whose age is not known, by source; it is dropped
    "message_overflow",  # gateway: messages that came faster than they were read, by source; the newest are lost
    "pulses_impossible",  # gateway: pulses faster than a meter can give them, by source; they are not added
    "pulse_count_unsaved",  # gateway: counts that the disk refused, by source; their readings are not given
    "pulse_counter_restarted",  # gateway: a count that began again at 0, by source
    # gateway: clock
    "clock_refused",  # gateway: times that were not believed, by system or receiver and reason
    "clock_stepped",  # gateway: times a clock left what boottime says, by system or receiver and direction
    "readings_undated_lost",  # gateway: readings given up while the clock was not known, because too many waited
    # gateway: remote configuration
    "config_applied",  # gateway: remote configurations put in force on trial
    "config_kept",  # gateway: remote configurations that the server has answered under
    "config_refused",  # gateway: remote configurations not applied, by reason
    "config_rolled_back",  # gateway: remote configurations taken back, by reason
    # gateway: outbox and delivery
    "readings_numbered",  # gateway: readings that got a seq
    "readings_confirmed",  # gateway: readings below the server's cumulative acknowledgement
    "readings_thinned",  # gateway: readings that no longer travel as a row of their own, merged into a neighbour
    "batches_published",  # gateway: batches handed to the link, repeats included
    "batches_repeated",  # gateway: batches that hold a reading published before
    "publish_refused",  # gateway: the broker's PUBACK said "not delivered", by reason code
    "outbox_inherited",  # gateway: readings of earlier boots found in the outbox at the start
    "outbox_damaged",  # gateway: stretches of the outbox that could not be read; their readings are told to the server as gone
    "outbox_dropped",  # gateway: readings of the oldest starts, given up at a start because the outbox had no room at all
    "outbox_torn",  # gateway: files of the outbox whose last record was cut off, as by a power cut
    "outbox_refused",  # gateway: writes and syncs that the disk refused; readings stay in memory meanwhile
    "outbox_commits",  # gateway: syncs of the outbox that ended well
    "readings_gone",  # gateway: readings the server misses that are here no more; it is told
    "nack_received",  # gateway: holes the server asked for
    "nack_unreadable",  # gateway: a message on dn/nack that is no Hole
    "ack_unreadable",  # gateway: a message on dn/ack that is no Ack
    "ack_other_boot",  # gateway: an Ack of a boot that has nothing to confirm here
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
    "readings_lost",  # server: readings that are gone, by their gateway or after they were asked for in vain; passed over
    "holes",  # server: stretches of such readings, each a row in quarantine
    "vin_mismatch",  # server: gateways in another vehicle than the registry says
    "nacks_published",  # server: holes asked for
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
