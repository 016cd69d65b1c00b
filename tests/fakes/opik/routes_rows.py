"""Routes that write and read traces and spans."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from tests.fakes.opik import otlp
from tests.fakes.opik.answers import Answer, Refusal, coded, empty, errors, json_answer, json_lines
from tests.fakes.opik.reading import matches, page_of
from tests.fakes.opik.routing import Call, route

if TYPE_CHECKING:
    from tests.fakes.opik.fields import Kind

_TRACE_COLUMNS = (
    "id name input output start_time end_time duration ttft metadata thread_id span_count llm_span_count usage.* "
    "total_estimated_cost tags error_info created_by feedback_scores.* experiment_id environment"
)
_SPAN_COLUMNS = (
    "id name type trace_id parent_span_id input output metadata start_time end_time duration ttft usage.* metadata "
    "tags created_at last_updated_at model provider total_estimated_cost error_info created_by feedback_scores.* "
    "environment"
)
_SORTABLE = {kind: text.split(" ") for kind, text in (("trace", _TRACE_COLUMNS), ("span", _SPAN_COLUMNS))}


def _register(kind: Kind) -> None:
    """The routes that traces and spans have in common."""
    base, plural = f"/v1/private/{kind}s", f"{kind}s"

    @route("POST", f"{base}/batch", is_limited=True)
    def create_batch(call: Call) -> Answer:
        items = call.body[plural]
        if kind == "span":
            _require_trace_ids(items, [f"spans[{index}].traceId" for index in range(len(items))])
        call.store.write_batch(kind, call.workspace, items)
        return empty()

    @route("PATCH", f"{base}/batch", is_limited=True)
    def update_batch(call: Call) -> Answer:
        call.store.update_batch(kind, call.workspace, call.body["ids"], call.body["update"])
        return empty()

    @route("POST", base, is_limited=True)
    def create_one(call: Call) -> Answer:
        if kind == "span":
            _require_trace_ids([call.body], ["traceId"])
        made = call.store.create_one(kind, call.workspace, call.body)
        return empty(201, Location=f"http://{call.request.headers['Host']}{base}/{made}")

    @route("PATCH", f"{base}/{{id}}", is_limited=True)
    def update_one(call: Call) -> Answer:
        call.store.update(kind, call.workspace, call.path["id"], call.body)
        return empty()

    @route("GET", f"{base}/{{id}}", is_public=True)
    def get_one(call: Call) -> Answer:
        row = None if call.caller.is_stranger else call.reader.one(kind, call.path["id"])
        if row is None:
            return coded(404, f"{kind.capitalize()} id: {call.path['id']} not found")
        return json_answer(200, row)

    @route("GET", base)
    def list_page(call: Call) -> Answer:
        found = _selected(kind, call, call.query)
        return json_answer(200, page_of(found, call.number("page", 1), call.number("size", 10), _SORTABLE[kind]))

    @route("POST", f"{base}/search")
    def search(call: Call) -> Answer:
        found = _selected(kind, call, call.body)
        found.sort(key=lambda row: str(row["id"]), reverse=True)
        last = call.body.get("last_retrieved_id")
        found = [row for row in found if last is None or row["id"] < last][: call.body.get("limit") or 500]
        hidden = set(call.body.get("exclude") or ())
        return json_lines([{key: value for key, value in row.items() if key not in hidden} for row in found])

    @route("PUT", f"{base}/feedback-scores")
    def score_batch(call: Call) -> Answer:
        for score in call.body["scores"]:
            call.store.check_id(kind, score["id"])
            call.store.score(kind, call.workspace, score["id"], score)
        return empty()

    @route("PUT", f"{base}/{{id}}/feedback-scores")
    def score_one(call: Call) -> Answer:
        call.store.score(kind, call.workspace, call.path["id"], call.body)
        return empty()


_register("trace")
_register("span")


@route("POST", "/v1/private/traces/delete")
def delete_traces(call: Call) -> Answer:
    """Delete traces with their spans."""
    call.store.delete_traces(call.workspace, call.body["ids"])
    return empty()


@route("DELETE", "/v1/private/traces/{id}")
def delete_trace(call: Call) -> Answer:
    """Delete one trace with its spans."""
    call.store.delete_traces(call.workspace, [call.path["id"]])
    return empty()


@route("DELETE", "/v1/private/spans/{id}")
def delete_span(_call: Call) -> Answer:
    """Opik has not implemented this either."""
    return empty(501)


@route("POST", "/v1/private/traces/threads/retrieve")
def get_thread(call: Call) -> Answer:
    """One conversation, put together from the traces that name it."""
    thread = call.reader.thread(call.project(), call.body["thread_id"])
    if thread is None:
        return coded(404, f"Trace Thread id: {call.body['thread_id']} not found")
    return json_answer(200, thread)


@route("POST", "/v1/private/traces/threads/search")
def search_threads(call: Call) -> Answer:
    """All conversations of a project that pass the filters."""
    conditions = call.body.get("filters") or []
    threads = call.reader.threads(call.project())
    return json_lines([thread for thread in threads if all(matches(thread, condition) for condition in conditions)])


@route("POST", "/v1/private/otel/v1/traces")
def otlp_traces(call: Call) -> Answer:
    """OTLP over HTTP: 200 with nothing in it, never an ExportTraceServiceResponse."""
    content_type = call.request.headers.get("Content-Type", "")
    export = otlp.decode(call.request.body, content_type)
    # Header values reach the server as they are; OTel SDKs have decoded theirs before sending.
    otlp.store_spans(call.store, call.workspace, call.request.headers.get("projectName"), export)
    return Answer(200)


def _require_trace_ids(items: list[dict[str, Any]], places: list[str]) -> None:
    """The document does not say so, but a span without a trace is refused."""
    missing = [place for item, place in zip(items, places, strict=True) if not item.get("trace_id")]
    if missing:
        raise Refusal(errors(422, *(f"{place} must not be null" for place in missing)))


def _selected(kind: Kind, call: Call, wanted: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of the named project that pass the plain parameters and the filters (JSON text in a query)."""
    filters = wanted.get("filters") or []
    conditions = json.loads(unquote(filters)) if isinstance(filters, str) else filters
    plain = {name: wanted[name] for name in ("trace_id", "type") if kind == "span" and wanted.get(name)}
    return [
        row
        for row in call.reader.rows(kind, call.project())
        if all(row.get(name) == value for name, value in plain.items())
        and all(matches(row, condition) for condition in conditions)
    ]
