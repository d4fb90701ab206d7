"""Published figures: one immutable JSON file each. What was published stays readable for ever, under its id.

A figure whose sums have changed since is published again as the next version, which names those before it
(``precedingPfIds``); nothing is ever rewritten or removed. Which version is the newest is seen from the files, so an older one
is Deprecated without being touched.
"""

import os
import threading
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from dashboards.feed.periods import Period

FORMAT: Final = "fleetco2 figure 1"
RELOAD_NS: Final = 1_000_000_000


class ArchiveError(Exception):
    """A published figure that cannot be read or written. The text names the file."""


class Cell(msgspec.Struct, frozen=True):
    """What a figure is about."""

    tenant: str
    by: str
    name: str


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows a figure is made of, as the verifier picks them: minutes in [from_ns, to_ns), UTC; null = all."""

    from_ns: int
    to_ns: int
    kinds: tuple[str, ...] | None
    routes: tuple[str, ...] | None
    assets: tuple[str, ...] | None


class Commits(msgspec.Struct, frozen=True):
    """The commits that a figure rests on, and the SHA-256 of the last one's ledger line."""

    first: int
    last: int
    sha256: str


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """A published figure, in the form that ``verify_export.py --figure`` reads.

    ``sums`` are the exact integers that the verifier makes again; all else follows from them.
    """

    format: str = FORMAT
    id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f-]{36}$")]
    version: int
    precedingPfIds: tuple[str, ...]  # noqa: N815  the name of the standard
    created: str
    kind: str
    cell: Cell
    filter: Filter
    sums: Mapping[str, int]
    factor_set: str
    kernel_versions: tuple[int, ...]
    commits: Commits
    small: bool
    figure: dict[str, Any]
    footprint: dict[str, Any] | None = None
    proof: dict[str, Any] | None = None


Identity = tuple[str, str, str, str, int, int, str]


def identity(kind: str, cell: Cell, period: Period, factor_set: str) -> Identity:
    """What stays the same over all versions of a figure."""
    return kind, cell.tenant, cell.by, cell.name, period.from_ns, period.to_ns, factor_set


def _identity(p: Published) -> Identity:
    return identity(p.kind, p.cell, period_of(p.filter), p.factor_set)


class Archive:
    """The folder of published figures. Other processes may add to it; that is seen within a second."""

    def __init__(self, folder: Path, now_ns: Callable[[], int]) -> None:
        self._folder, self._now_ns = folder, now_ns
        self._by_id: dict[str, Published] = {}
        self._versions: dict[Identity, list[Published]] = {}
        self._looked_ns = -RELOAD_NS
        self._stamp = -1
        self._lock = threading.RLock()

    def _look(self) -> None:
        now = self._now_ns()
        if now - self._looked_ns < RELOAD_NS:
            return
        self._looked_ns = now
        try:
            stamp = self._folder.stat().st_mtime_ns
        except FileNotFoundError:
            return
        if stamp != self._stamp:
            self.reload()
            self._stamp = stamp

    def reload(self) -> None:
        """Take up files that are new. Raises ArchiveError for one that is damaged."""
        if not self._folder.is_dir():
            return
        with self._lock:
            for path in sorted(self._folder.glob("*.json")):
                if path.stem not in self._by_id:
                    self._take(read(path))

    def _take(self, p: Published) -> None:
        self._by_id[p.id] = p
        versions = self._versions.setdefault(_identity(p), [])
        versions.append(p)
        versions.sort(key=lambda v: v.version)

    def newest(self, kind: str, cell: Cell, period: Period, factor_set: str) -> Published | None:
        """The newest version of a figure."""
        self._look()
        versions = self._versions.get(identity(kind, cell, period, factor_set))
        return versions[-1] if versions else None

    def of(self, figure_id: str) -> Published | None:
        """The figure of that id."""
        self._look()
        return self._by_id.get(figure_id)

    def active(self, p: Published) -> bool:
        """Whether ``p`` is the newest version."""
        return self._versions[_identity(p)][-1].id == p.id

    def all(self) -> list[Published]:
        """All versions of all figures, oldest first."""
        self._look()
        with self._lock:
            everything = list(self._by_id.values())
        return sorted(everything, key=lambda p: (p.created, p.id))

    def add(self, p: Published) -> Published:
        """Write ``p``, synced, under an id that no file has. Raises ArchiveError."""
        path = self._folder / f"{p.id}.json"
        content = msgspec.json.format(msgspec.json.encode(p, order="sorted"), indent=1) + b"\n"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            tmp = self._folder / f".{p.id}.tmp"
            with tmp.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.link(tmp, path)  # fails where the file exists: what was published is never replaced
            tmp.unlink()
            handle = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as e:
            raise ArchiveError(f"{path} cannot be written: {e}") from e
        with self._lock:
            self._take(p)
        return p

    def publish(
        self,
        *,
        kind: str,
        cell: Cell,
        where: Filter,
        sums: Mapping[str, int],
        factor_set: str,
        kernel_versions: tuple[int, ...],
        commits: Commits,
        created: str,
        small: bool,
        figure: dict[str, Any],
        footprint: Callable[[str, int, tuple[str, ...]], dict[str, Any]] | None = None,
        proof: dict[str, Any] | None = None,
    ) -> tuple[Published, bool]:
        """The published figure of these sums, and whether it is new: the first version, or a restatement.

        Equal sums are not published twice. ``footprint`` makes the PACT form from id, version and preceding ids.
        """
        self.reload()
        before = self._versions.get(identity(kind, cell, period_of(where), factor_set), [])
        if before and before[-1].sums == sums and before[-1].kernel_versions == kernel_versions:
            return before[-1], False
        figure_id = str(uuid.uuid4())
        preceding = tuple(p.id for p in reversed(before))
        return self.add(
            Published(
                format=FORMAT if kind == "progress" else f"fleetco2 {kind} 1",
                id=figure_id,
                version=len(before),
                precedingPfIds=preceding,
                created=created,
                kind=kind,
                cell=cell,
                filter=where,
                sums=dict(sums),
                factor_set=factor_set,
                kernel_versions=kernel_versions,
                commits=commits,
                small=small,
                figure=figure,
                footprint=footprint(figure_id, len(before), preceding) if footprint else None,
                proof=proof,
            )
        ), True


def read(path: Path) -> Published:
    """The figure in a file. Raises ArchiveError."""
    try:
        p = msgspec.json.decode(path.read_bytes(), type=Published)
    except (OSError, msgspec.MsgspecError) as e:
        raise ArchiveError(f"{path} is damaged: {e}; bring it back from a copy") from e
    if p.id != path.stem:
        raise ArchiveError(f"{path} holds the figure {p.id}; name the file after it")
    return p


def period_of(f: Filter) -> Period:
    """The period of a figure."""
    return Period(f.from_ns, f.to_ns)
