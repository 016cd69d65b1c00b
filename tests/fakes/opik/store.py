"""Everything the fake remembers, and the rules by which traces and spans get in."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tests.fakes.opik.answers import Refusal, coded, errors
from tests.fakes.opik.fields import priced, written_fields
from tests.fakes.opik.ids import InvalidId, check_id, new_id
from tests.fakes.opik.instants import now, parse_instant
from tests.fakes.opik.rows import Projects, Row, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.fakes.opik.fields import Kind
    from tests.fakes.opik.rows import Project

__all__ = ["Store"]


class Store:
    """Projects, traces, spans, scores and attachments of all workspaces of one server."""

    def __init__(self, *, id_window_hours: float | None = None) -> None:
        self.projects = Projects()
        self.traces = Table("trace")
        self.spans = Table("span")
        self.scores: dict[tuple[str, Kind, str], dict[str, dict[str, Any]]] = {}
        """(workspace, kind, entity id) -> score name -> score."""
        self.attachments: dict[tuple[str, str, str], bytes] = {}
        """(entity type, entity id, file name) -> content."""
        self.otel_trace_ids: dict[tuple[str, str, bytes], str] = {}
        """(workspace, project id, OTel trace id) -> Opik trace id: the part that Redis plays."""
        self._id_window_hours = id_window_hours

    def table(self, kind: Kind) -> Table:
        """The table of that kind."""
        return self.traces if kind == "trace" else self.spans

    def write_batch(self, kind: Kind, workspace: str, items: Sequence[Mapping[str, Any]]) -> None:
        """Upsert whole rows; one id that is not allowed refuses all of them."""
        rows = [self._row(kind, workspace, item) for item in _newest_of_each(items)]
        self.table(kind).put(rows)

    def create_one(self, kind: Kind, workspace: str, item: Mapping[str, Any]) -> str:
        """What POST of a single item does; returns the id.

        A partial row is filled in without losing what a PATCH wrote. A full span is left as it is, silently; a full
        trace is a conflict.
        """
        row = self._row(kind, workspace, item)
        old = self.table(kind).find(workspace, row.id)
        if old is None:
            self.table(kind).put([row])
        elif old.project_id != row.project_id:
            raise Refusal(errors(409, f"Project name and workspace name do not match the existing {kind}"))
        elif old.is_partial:
            kept = {key: value for key, value in old.fields.items() if key != "start_time" and value not in ("", [])}
            self.table(kind).put([replace(row, fields={**row.fields, **kept})])
        elif kind == "trace":
            raise Refusal(errors(409, "Trace already exists"))
        return row.id

    def update(self, kind: Kind, workspace: str, row_id: str, changes: Mapping[str, Any]) -> None:
        """What PATCH does: change the columns that are given, or leave a partial row where there is none."""
        self.check_id(kind, row_id)
        project = self._project_of_update(workspace, changes)
        wanted = _readable(kind, changes)
        old = self.table(kind).find(workspace, row_id)
        if old is None:
            partial = {"start_time": 0, **wanted, "id": row_id, "tags": _patched_tags([], changes)}
            self.table(kind).put([Row(workspace, project.id, partial, last_updated_at=now())])
            return
        _refuse_mismatch(kind, old, project, changes)
        self.table(kind).put([_patched(kind, old, wanted, changes)])

    def update_batch(self, kind: Kind, workspace: str, row_ids: Sequence[str], changes: Mapping[str, Any]) -> None:
        """What PATCH of a batch does: rows that exist are changed, others are not made."""
        for row_id in row_ids:
            old = self.table(kind).find(workspace, row_id)
            if old is not None:
                self.table(kind).put([_patched(kind, old, _readable(kind, changes), changes)])

    def check_id(self, kind: Kind, row_id: str) -> None:
        """Refuse an id that is not a UUIDv7, or too far from now where the window is on."""
        try:
            check_id(kind.capitalize(), row_id, window_hours=self._id_window_hours, now_ms=now() // 1_000_000)
        except InvalidId as error:
            raise Refusal(coded(400, "Invalid UUID for id", error.details)) from error

    def score(self, kind: Kind, workspace: str, entity_id: str, score: Mapping[str, Any]) -> None:
        """Set one feedback score; a score of the same name is replaced."""
        kept = {key: value for key, value in score.items() if key not in {"id", "project_name", "project_id"}}
        self.scores.setdefault((workspace, kind, entity_id), {})[score["name"]] = kept

    def delete_traces(self, workspace: str, trace_ids: Sequence[str]) -> None:
        """Delete traces and all of their spans."""
        self.traces.remove(workspace, trace_ids)
        for project in self.projects:
            spans = self.spans.of_project(workspace, project.id)
            self.spans.remove(workspace, [span.id for span in spans if span.fields["trace_id"] in set(trace_ids)])

    def find_project(self, workspace: str, project_id: str | None, name: str | None) -> Project:
        """The project that a read names by id or name; 400 without either, 404 when it does not exist."""
        if not project_id and not name:
            raise Refusal(coded(400, "Either 'project_name' or 'project_id' query params must be provided"))
        if project_id:
            found, told = self.projects.with_id(workspace, project_id), f"id: {project_id}"
        else:
            found, told = self.projects.named(workspace, str(name)), f"name: {name}"
        if found is None:
            raise Refusal(coded(404, f"Project {told} not found"))
        return found

    def _row(self, kind: Kind, workspace: str, item: Mapping[str, Any]) -> Row:
        fields = _readable(kind, item)
        fields.setdefault("id", new_id())
        self.check_id(kind, fields["id"])
        if kind == "span":
            fields = priced(fields)
        project = self.projects.ensure(workspace, item.get("project_name"))
        stamp = item.get("last_updated_at")
        # ClickHouse keeps microseconds of this column.
        version = (parse_instant(stamp) if stamp is not None else now()) // 1000 * 1000
        return Row(workspace, project.id, fields, last_updated_at=version)

    def _project_of_update(self, workspace: str, changes: Mapping[str, Any]) -> Project:
        if changes.get("project_id"):
            return self.find_project(workspace, changes["project_id"], None)
        return self.projects.ensure(workspace, changes.get("project_name"))


def _readable(kind: Kind, item: Mapping[str, Any]) -> dict[str, Any]:
    """The item's columns; 400 for a time that the document's format admits and no calendar does."""
    try:
        return written_fields(kind, item)
    except ValueError as error:
        message = f"Unable to process JSON. Cannot deserialize value of type `java.time.Instant`: {error}"
        raise Refusal(coded(400, message)) from error


def _newest_of_each(items: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Items whose id and time are both given and that occur more than once in a request: only the newest stays."""
    times = Counter(item.get("id") for item in items)
    newest: dict[str, Mapping[str, Any]] = {}
    kept: list[Mapping[str, Any]] = []
    for item in items:
        if times[item.get("id")] == 1 or not item.get("id") or not item.get("last_updated_at"):
            kept.append(item)
            continue
        rival = newest.get(item["id"])
        if rival is None or parse_instant(rival["last_updated_at"]) <= parse_instant(item["last_updated_at"]):
            newest[item["id"]] = item
    return [*kept, *newest.values()]


def _patched(kind: Kind, old: Row, wanted: dict[str, Any], changes: Mapping[str, Any]) -> Row:
    """The row with the given columns changed; blank text changes nothing, and a cost given by hand stays."""
    fields = {**old.fields, **{key: value for key, value in wanted.items() if value != ""}}
    fields["tags"] = _patched_tags(old.fields.get("tags", []), changes)
    if kind == "span" and "total_estimated_cost" not in wanted:
        by_hand = "total_estimated_cost_version" not in fields and fields.get("total_estimated_cost")
        if not by_hand:
            fields.pop("total_estimated_cost", None)
            fields.pop("total_estimated_cost_version", None)
            fields = priced(fields)
    elif kind == "span":
        fields.pop("total_estimated_cost_version", None)
    return replace(old, fields=fields, last_updated_at=now())


def _patched_tags(old: list[str], changes: Mapping[str, Any]) -> list[str]:
    if changes.get("tags") is not None:
        return list(dict.fromkeys(changes["tags"]))
    gone = set(changes.get("tags_to_remove") or ())
    return [tag for tag in dict.fromkeys([*old, *(changes.get("tags_to_add") or ())]) if tag not in gone]


def _refuse_mismatch(kind: Kind, old: Row, project: Project, changes: Mapping[str, Any]) -> None:
    """A PATCH has to name the row's own project, trace and parent."""
    if old.project_id != project.id:
        raise Refusal(errors(409, f"Project name and workspace name do not match the existing {kind}"))
    if kind == "span":
        for column in ("trace_id", "parent_span_id"):
            if changes.get(column) != old.fields.get(column):
                raise Refusal(errors(409, f"{column} does not match the existing span"))
