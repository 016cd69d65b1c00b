"""Rows as ClickHouse keeps them for Opik: a whole row replaces an older one under the same sort key.

Sort keys are (workspace, project, id) for traces and (workspace, project, trace, parent, id) for spans. So the same
id under another project, trace or parent is a second row and not an error, and a field that the newer row leaves
out is gone.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from tests.fakes.opik import ids
from tests.fakes.opik.instants import now

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tests.fakes.opik.fields import Kind

__all__ = ["DEFAULT_PROJECT", "Project", "Projects", "Row", "Table", "WriteCounts"]

DEFAULT_PROJECT = "Default Project"
Key: TypeAlias = "tuple[str, ...]"


@dataclass(frozen=True, slots=True)
class Project:
    """A project of a workspace; two names that differ in case only are the same project."""

    id: str
    workspace: str
    name: str
    created_at: int
    """Nanoseconds since 1970."""


class Projects:
    """The projects of all workspaces."""

    def __init__(self) -> None:
        self._by_name: dict[tuple[str, str], Project] = {}

    def __iter__(self) -> Iterator[Project]:
        return iter(list(self._by_name.values()))

    def named(self, workspace: str, name: str) -> Project | None:
        """The project of that name, whatever its case."""
        return self._by_name.get((workspace, name.strip().lower()))

    def with_id(self, workspace: str, project_id: str) -> Project | None:
        """The project of that id, if the workspace has it."""
        return next((each for each in self if each.id == project_id and each.workspace == workspace), None)

    def ensure(self, workspace: str, name: str | None) -> Project:
        """The project of that name, made if missing; no name means `Default Project`."""
        wanted = (name or DEFAULT_PROJECT).strip()
        found = self.named(workspace, wanted)
        if found is None:
            found = Project(ids.new_id(), workspace, wanted, now())
            self._by_name[workspace, wanted.lower()] = found
        return found


@dataclass(frozen=True, slots=True)
class Row:
    """One stored trace or span. Times are nanoseconds since 1970."""

    workspace: str
    project_id: str
    fields: dict[str, Any]
    last_updated_at: int
    """The version: of two rows with the same key the one with the larger version is seen."""
    user: str = "admin"
    created_at: int = field(default_factory=now)

    @property
    def id(self) -> str:
        """The row's own id."""
        return str(self.fields["id"])

    @property
    def is_partial(self) -> bool:
        """Whether a PATCH made this row before any POST did."""
        return not self.fields.get("start_time")


@dataclass(slots=True)
class WriteCounts:
    """What became of every row that was written to one table."""

    inserted: int = 0
    replaced: int = 0
    """Took the place of a row under the same key, with other content."""
    repeated: int = 0
    """Took the place of a row under the same key, with the same content."""
    outdated: int = 0
    """Lost against a row with a newer `last_updated_at`."""

    @property
    def total(self) -> int:
        """All rows written."""
        return self.inserted + self.replaced + self.repeated + self.outdated


class Table:
    """A ReplacingMergeTree whose merges are always done."""

    def __init__(self, kind: Kind) -> None:
        self.kind: Kind = kind
        self.counts = WriteCounts()
        self._rows: dict[Key, Row] = {}
        self._keys_by_id: dict[tuple[str, str], set[Key]] = defaultdict(set)

    def put(self, rows: Iterable[Row]) -> None:
        """Write rows; each is judged by its version alone."""
        for row in rows:
            self._put(row)

    def _put(self, row: Row) -> None:
        key = self._key(row)
        old = self._rows.get(key)
        if old is not None and old.last_updated_at > row.last_updated_at:
            self.counts.outdated += 1
            return
        if old is None:
            self.counts.inserted += 1
        elif old.fields == row.fields:
            self.counts.repeated += 1
        else:
            self.counts.replaced += 1
        self._rows[key] = row
        self._keys_by_id[row.workspace, row.id].add(key)

    def _key(self, row: Row) -> Key:
        if self.kind == "trace":
            return row.workspace, row.project_id, row.id
        return row.workspace, row.project_id, row.fields["trace_id"], row.fields.get("parent_span_id", ""), row.id

    def find(self, workspace: str, row_id: str) -> Row | None:
        """The newest row with that id in any project."""
        rows = [self._rows[key] for key in self._keys_by_id.get((workspace, row_id), ())]
        return max(rows, key=lambda row: row.last_updated_at, default=None)

    def of_project(self, workspace: str, project_id: str) -> list[Row]:
        """All rows of a project, in descending order of the sort key: the order in which Opik lists them."""
        keys = [key for key in self._rows if key[:2] == (workspace, project_id)]
        return [self._rows[key] for key in sorted(keys, reverse=True)]

    def remove(self, workspace: str, row_ids: Iterable[str]) -> None:
        """Delete all rows with these ids."""
        for row_id in row_ids:
            for key in self._keys_by_id.pop((workspace, row_id), ()):
                del self._rows[key]

    def repeated_ids(self) -> list[str]:
        """Ids that are stored under more than one key: what a reader sees twice."""
        return sorted(row_id for (_, row_id), keys in self._keys_by_id.items() if len(keys) > 1)
