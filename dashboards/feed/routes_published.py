"""Endpoints: published figures, each with the proof that its commits lie under a signed root."""

import asyncio
from typing import Annotated, Any, Final

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import PathParameter, QueryParameter

from dashboards.feed.archive import Cell, Published
from dashboards.feed.archive import period_of as archived_period
from dashboards.feed.errors import PROBLEMS
from dashboards.feed.keys import Key
from dashboards.feed.parameters import (
    NAME,
    ByParameter,
    FactorSetParameter,
    FromParameter,
    LimitParameter,
    TheFeed,
    TheKey,
    ToParameter,
    period_of,
)
from dashboards.feed.problem import ProblemError
from dashboards.feed.publish import visible
from dashboards.feed.service import Feed
from storage.proof import Proof, inclusion

IdParameter = Annotated[str, PathParameter(pattern="^[0-9a-f-]{36}$", description="Id of a published figure.")]


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A published figure in the list."""

    id: str
    version: int
    active: bool
    created: str
    kind: str
    tenant: str
    by: str
    name: str
    from_ns: int
    to_ns: int
    factor_set: str


class Figures(msgspec.Struct, frozen=True):
    """A page of published figures, oldest first. ``next_offset`` is null on the last page."""

    figures: tuple[Listed, ...]
    next_offset: int | None


class FigureProof(msgspec.Struct, frozen=True, kw_only=True):
    """That the figure's last commit, and with it by the hash chain every commit before it, lies under a root.

    ``proof`` is null until the hour of the commit is sealed. ``signed`` says whether the root carries a signature.
    """

    id: str
    commit: int
    sealed: bool
    signed: bool
    proof: dict[str, Any] | None


def _mine(feed: Feed, key: Key, figure_id: str) -> Published:
    found = feed.archive.of(figure_id)
    if found is None or not visible(key, found):
        raise ProblemError(
            404, "there is no published figure of this id that your key reaches; GET /v1/figures lists them"
        )
    return found


@get("/v1/figures", responses=PROBLEMS, tags=["published"], sync_to_thread=True)
def figures(
    feed: TheFeed,
    key: TheKey,
    limit: LimitParameter = 100,
    offset: Annotated[int, QueryParameter(ge=0, le=10_000_000, description="Figures to leave out.")] = 0,
) -> Figures:
    """Published figures, all versions; what was published stays."""
    mine = [p for p in feed.archive.all() if visible(key, p)]
    page = mine[offset : offset + limit]
    listed = tuple(
        Listed(
            id=p.id,
            version=p.version,
            active=feed.archive.active(p),
            created=p.created,
            kind=p.kind,
            tenant=p.cell.tenant,
            by=p.cell.by,
            name=p.cell.name,
            from_ns=p.filter.from_ns,
            to_ns=p.filter.to_ns,
            factor_set=p.factor_set,
        )
        for p in page
    )
    return Figures(listed, offset + limit if offset + limit < len(mine) else None)


@get("/v1/figures/newest", responses=PROBLEMS, tags=["published"], sync_to_thread=True)
def newest(
    feed: TheFeed,
    key: TheKey,
    tenant: Annotated[str, QueryParameter(pattern=r"^[a-z0-9-]{3,40}$", description="The operator.")],
    by: ByParameter = "operator",
    name: Annotated[
        str | None, QueryParameter(pattern=NAME, description="The cell; without it the operator's own.")
    ] = None,
    start: FromParameter = None,
    end: ToParameter = None,
    factor_set: FactorSetParameter = None,
) -> Published:
    """The newest version of one published figure; without a factor set the one published last."""
    cell, period = Cell(tenant, by, name or tenant), period_of(start, end, feed.now_ns())
    found = [
        p
        for p in feed.archive.all()
        if p.kind == "progress" and p.cell == cell and archived_period(p.filter) == period
        if factor_set in (None, p.factor_set)
    ]
    if not found:
        raise ProblemError(
            404, "no figure of this cell and period was published; GET /v1/figures lists those that were"
        )
    return _told(key, _mine(feed, key, found[-1].id))


@get("/v1/figures/{figure_id:str}", responses=PROBLEMS, tags=["published"], sync_to_thread=True)
def figure(feed: TheFeed, key: TheKey, figure_id: IdParameter) -> Published:
    """One published figure: its filter, exact sums, factor set, kernel versions and commits. Give it to the verifier as it is."""
    return _told(key, _mine(feed, key, figure_id))


def _told(key: Key, found: Published) -> Published:
    if key.hides and found.filter.assets is not None:  # which vehicles there are is told to those only who may see them
        return msgspec.structs.replace(found, filter=msgspec.structs.replace(found.filter, assets=("(not told)",)))
    return found


@get("/v1/figures/{figure_id:str}/proof", responses=PROBLEMS, tags=["published"])
async def proof(feed: TheFeed, key: TheKey, figure_id: IdParameter) -> FigureProof:
    """The inclusion proof of the figure's last commit: its ledger line, the path of hashes, the signed root of its hour."""
    found = await asyncio.to_thread(_mine, feed, key, figure_id)
    made: Proof | None = await asyncio.to_thread(inclusion, feed.lake, found.commits.last)
    return FigureProof(
        id=found.id,
        commit=found.commits.last,
        sealed=made is not None,
        signed=made is not None and bool(made.root.signature),
        proof=None if made is None else msgspec.to_builtins(made),
    )


ROUTES: Final[tuple[HTTPRouteHandler, ...]] = (figures, newest, figure, proof)
