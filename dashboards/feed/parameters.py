"""Query parameters that several endpoints share, with the forms that OpenAPI shows and requests are checked against."""

from typing import Annotated, Final, Literal

from litestar.di import NamedDependency
from litestar.params import QueryParameter

from dashboards.feed import periods
from dashboards.feed.keys import Key
from dashboards.feed.periods import Period, PeriodError
from dashboards.feed.problem import ProblemError
from dashboards.feed.service import Feed
from dashboards.feed.sums import By

NAME: Final = r"^[^\x00-\x1f\x7f]{1,100}$"

TheFeed = NamedDependency[Feed]
TheKey = NamedDependency[Key]
ByParameter = Annotated[By, QueryParameter(description="What the cells are.")]
FromParameter = Annotated[
    str | None,
    QueryParameter(
        name="from",
        pattern=periods.FORM,
        description="Start, UTC, part of the period: 2026-11, 2026-11-22 or 2026-11-22T10:00Z. Without it the running month.",
    ),
]
ToParameter = Annotated[
    str | None,
    QueryParameter(
        name="to", pattern=periods.FORM, description="End, UTC, not part of the period. Without it the month of from."
    ),
]
TenantParameter = Annotated[str | None, QueryParameter(pattern=r"^[a-z0-9-]{3,40}$", description="Only this operator.")]
FactorSetParameter = Annotated[
    str | None,
    QueryParameter(
        pattern=r"^[a-z0-9.-]{1,60}$", description="Factor set; without it the one with the newest results."
    ),
]
BoundaryParameter = Annotated[Literal["wtw", "ttw"], QueryParameter(description="Well-to-wheel or tank-to-wheel.")]
LimitParameter = Annotated[int, QueryParameter(ge=1, le=1_000, description="Most items of a page.")]


def period_of(start: str | None, end: str | None, now_ns: int) -> Period:
    """The period asked for. Raises ProblemError 400 saying what to write."""
    try:
        return periods.parse(start, end, now_ns)
    except PeriodError as e:
        raise ProblemError(400, str(e)) from None
