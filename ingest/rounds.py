"""How much of the state each commit keeps: the records it touched, and a stretch of all others, so that in rounds everything is kept anew.

So a commit costs what it touched and not what the fleet is, no commit stalls for a whole copy, and a restart reads the parts of at
most two rounds. The first commit after a start keeps everything: who starts often does not pile up parts.
"""

from typing import Final

from storage.landing import StatePart
from stream.pipeline import State
from stream.state import STATE

LEAST_BYTES: Final = 1 << 20  # of other records in each commit; a few hundred vehicles are kept whole each time


def next_part(state: State, at: int | None) -> tuple[StatePart, int]:
    """What the commit of ``state`` keeps when the round has come to device ``at`` (None = first commit), and how far it then has come.

    ``state`` was made by one step from a settled one.
    """
    n = len(state.fleet.devices)
    begin = at or 0
    end = n if at is None else min(n, begin + max(LEAST_BYTES // STATE.itemsize, state.rows.devices.size))
    part = StatePart(state.part(begin, end), begins=begin == 0, ends=end == n)
    return part, 0 if part.ends else end
