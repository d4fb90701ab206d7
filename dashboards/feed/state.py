"""When a figure may be called closed or verified. It is provisional until nothing speaks against it, and says what does.

closed    The period is over, the time for late data has passed, the lake has been written to since, enough of what happened is
          known (no figure for at most ``unknown_max`` of the time, at most ``loss_max`` of the readings missing), and the
          factors, boundary and kernels are one.
verified  A closed figure that was published, whose commit lies under a signed root, and whose archived sums are still those
          of the lake.
"""

from typing import Final, Literal

import msgspec

from dashboards.feed.periods import Period, iso

HOUR_NS: Final = 3_600_000_000_000
State = Literal["provisional", "closed", "verified"]


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``lateness_h``: gateways keep 72 h of readings when out of reach, so a day more than that. Shares are of 1."""

    lateness_h: float = 96.0
    unknown_max: float = 0.05
    loss_max: float = 0.01


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What the rules look at. ``newest_commit_ns`` None = nothing committed yet; shares None = not known."""

    period: Period
    now_ns: int
    newest_commit_ns: int | None
    unknown_share: float | None
    loss_rate: float | None
    kernel_versions: int = 1
    published: bool = False
    signed_root: bool = False
    sums_agree: bool = False


def closes_ns(period: Period, rules: Rules) -> int:
    """The first moment at which a figure of ``period`` may close."""
    return period.to_ns + round(rules.lateness_h * HOUR_NS)


def state(known: Known, rules: Rules) -> tuple[State, tuple[str, ...]]:
    """The state, and why it is not a higher one."""
    due = closes_ns(known.period, rules)
    why = []
    if known.now_ns < due:
        why.append(f"late data is waited for until {iso(due)}")
    elif known.newest_commit_ns is None or known.newest_commit_ns < due:
        why.append(f"nothing was stored since {iso(due)}, so late data could not have come")
    if known.unknown_share is None:
        why.append("nothing was observed")
    elif known.unknown_share > rules.unknown_max:
        why.append(
            f"{known.unknown_share:.1%} of the observed time has no energy figure, {rules.unknown_max:.0%} are allowed"
        )
    if known.loss_rate is None:
        why.append("how many readings were lost is not known")
    elif known.loss_rate > rules.loss_max:
        why.append(f"{known.loss_rate:.2%} of the readings are missing, {rules.loss_max:.0%} are allowed")
    if known.kernel_versions > 1:
        why.append("results of several kernel versions are mixed; rebuild the period")
    if why:
        return "provisional", tuple(why)
    if not known.published:
        return "closed", ("not published yet",)
    if not known.signed_root:
        return "closed", ("its commits lie under no signed root yet",)
    if not known.sums_agree:
        return "closed", ("the lake has changed since it was published; a restatement is due",)
    return "verified", ()
