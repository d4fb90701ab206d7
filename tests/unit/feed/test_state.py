"""A figure leaves provisional only when nothing speaks against it."""

from typing import Any

import msgspec
import pytest

from dashboards.feed.periods import month
from dashboards.feed.state import HOUR_NS, Known, Rules, closes_ns, state

OCTOBER = month(2026, 10)
DUE = OCTOBER.to_ns + 96 * HOUR_NS
GOOD = Known(
    period=OCTOBER,
    now_ns=DUE,
    newest_commit_ns=DUE,
    unknown_share=0.05,
    loss_rate=0.01,
    published=True,
    signed_root=True,
    sums_agree=True,
)


def test_verified_when_everything_holds() -> None:
    assert closes_ns(OCTOBER, Rules()) == DUE
    assert state(GOOD, Rules()) == ("verified", ())


@pytest.mark.parametrize(
    ("change", "wanted", "says"),
    [
        ({"now_ns": DUE - 1}, "provisional", "late data is waited for until 2026-11-05T00:00:00Z"),
        ({"newest_commit_ns": DUE - 1}, "provisional", "nothing was stored since"),
        ({"newest_commit_ns": None}, "provisional", "nothing was stored since"),
        ({"unknown_share": 0.0501}, "provisional", "5.0% of the observed time"),
        ({"unknown_share": None}, "provisional", "nothing was observed"),
        ({"loss_rate": 0.0101}, "provisional", "1.01% of the readings are missing"),
        ({"loss_rate": None}, "provisional", "is not known"),
        ({"kernel_versions": 2}, "provisional", "several kernel versions"),
        ({"published": False}, "closed", "not published"),
        ({"signed_root": False}, "closed", "no signed root"),
        ({"sums_agree": False}, "closed", "restatement"),
    ],
)
def test_one_thing_missing(change: dict[str, Any], wanted: str, says: str) -> None:
    found, why = state(msgspec.structs.replace(GOOD, **change), Rules())
    assert found == wanted
    assert says in why[0]
