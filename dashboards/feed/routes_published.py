"""Endpoints: published figures, each with the proof that its commits lie under a signed root."""

import asyncio
from typing import Annotated, Any, Final

import msgspec
from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import Parameter

from dashboards.feed.archive import Published
from dashboards.feed.errors import PROBLEMS
from dashboards.feed.keys import Key
from dashboards.feed.parameters import LimitParameter
from dashboards.feed.problem import ProblemError
from dashboards.feed.publish import visible
from dashboards.feed.service import Feed
from storage.proof import Proof, inclusion

IdParameter = Annotated[str, Parameter(pattern="^[0-9a-f-]{36}$", description="Id of a published figure.")]


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
    feed: Feed,
    key: Key,
    limit: LimitParameter = 100,
    offset: Annotated[int, Parameter(ge=0, le=10_000_000, description="Figures to leave out.")] = 0,
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
            tenant=p.filter.tenant,
            by=p.filter.by,
            name=p.filter.name,
            from_ns=p.filter.from_ns,
            to_ns=p.filter.to_ns,
            factor_set=p.factor_set,
        )
        for p in page
    )
    return Figures(listed, offset + limit if offset + limit < len(mine) else None)


@get("/v1/figures/{figure_id:str}", responses=PROBLEMS, tags=["published"], sync_to_thread=True)
def figure(feed: Feed, key: Key, figure_id: IdParameter) -> Published:
    """One published figure: its filter, exact sums, factor set, kernel versions and commits. Give it to the verifier as it is."""
    found = _mine(feed, key, figure_id)
    if key.hides:  # which vehicles there are is told to those only who may see them
        return msgspec.structs.replace(found, filter=msgspec.structs.replace(found.filter, assets=()))
    return found


@get("/v1/figures/{figure_id:str}/proof", responses=PROBLEMS, tags=["published"])
async def proof(feed: Feed, key: Key, figure_id: IdParameter) -> FigureProof:
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


ROUTES: Final[tuple[HTTPRouteHandler, ...]] = (figures, figure, proof)
